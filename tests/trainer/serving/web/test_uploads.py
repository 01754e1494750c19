import asyncio
import base64
import dataclasses
import io
import json
import tempfile

import numpy as np
import pytest
import soundfile
from starlette.datastructures import Headers
from starlette.requests import Request

from beam_preprocess import audio
from beam_preprocess.audio import Reject
from tests.trainer.serving.web.page_server import recognition_of
from trainer.serving import recognizer
from trainer.serving.web import uploads
from trainer.serving.web.uploads import Refusal


@pytest.fixture(params=["in memory", "on disk"])
def place(request, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if request.param == "on disk":
        monkeypatch.setattr(uploads, "_IN_MEMORY_BYTES", 100)
    return tmp_path


def test_a_length_is_known_before_anything_is_read():
    assert uploads.declared_bytes(Headers({"Content-Length": "0"}), 10) == 0
    assert uploads.declared_bytes(Headers({"Content-Length": "10"}), 10) == 10


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"Content-Length": "11"}, 413, "too_large"),
        ({"Content-Length": "9" * 18}, 413, "too_large"),
        ({}, 411, "no_length"),
        ({"Content-Length": "5", "Transfer-Encoding": "chunked"}, 411, "no_length"),
    ],
)
def test_other_lengths_are_refused(headers, status, reason):
    with pytest.raises(Refusal) as refused:
        uploads.declared_bytes(Headers(headers), 10)
    assert (refused.value.status, refused.value.reason) == (status, reason)


def receive(content, file, *, breaks_off=False):
    """What `uploads.receive` makes of a body that arrives in blocks."""
    blocks = [content[start : start + 1000] for start in range(0, len(content), 1000)]
    messages = [{"type": "http.request", "body": block, "more_body": True} for block in blocks]
    messages.append({"type": "http.disconnect" if breaks_off else "http.request"})

    async def next_message():
        return messages.pop(0)

    asyncio.run(uploads.receive(Request({"type": "http"}, next_message), file, 60))


def test_a_file_arrives_as_it_was_and_leaves_nothing_behind(place):
    content = bytes(range(256)) * 3000
    with uploads.empty_file(len(content)) as file:
        receive(content, file)
        assert list(place.iterdir()) == []
        assert file.read() == content
    assert file.closed and list(place.iterdir()) == []


def test_one_that_does_not_arrive_whole_is_refused(place):
    with pytest.raises(Refusal, match="broken_off"), uploads.empty_file(4000) as file:
        receive(bytes(3000), file, breaks_off=True)


def test_nothing_is_an_empty_file():
    with uploads.empty_file(0) as file:
        receive(b"", file)
        assert file.read() == b""


@pytest.mark.parametrize("length", [9, 1_000_000])
def test_a_temporary_directory_that_takes_no_body_is_told(no_temporary_files, monkeypatch, length):
    monkeypatch.setattr(uploads, "_IN_MEMORY_BYTES", 0)
    told = pytest.raises(Refusal, match=f"no_room.*{no_temporary_files}")
    with told, uploads.empty_file(length) as file:
        receive(bytes(length), file)


def encoded(seconds, rate, kind):
    time = np.arange(round(seconds * rate)) / rate
    stereo = np.stack([np.sin(2 * np.pi * 440 * time), np.zeros_like(time)], axis=1) * 0.8
    file = io.BytesIO()
    soundfile.write(file, stereo, rate, format=kind)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", ["AU", "AIFF"])
def test_any_format_becomes_mono_wav(kind):
    wav = io.BytesIO()
    assert uploads.write_wav(encoded(1, 44100, kind), wav, max_duration_s=10) == len(wav.getvalue())
    assert wav.tell() == 0 and wav.getvalue().startswith(b"RIFF")
    samples, rate = soundfile.read(wav)
    assert rate == 22050 and samples.shape == (22050,)
    middle = samples[1000:-1000]
    assert np.abs(middle).max() == pytest.approx(0.4, abs=0.01)
    assert np.abs(np.fft.rfft(samples)).argmax() == 440


def test_what_cannot_be_used_is_rejected():
    with pytest.raises(Reject, match="too_long"):
        uploads.write_wav(encoded(2, 22050, "AU"), io.BytesIO(), max_duration_s=1)
    with pytest.raises(Reject, match="undecodable"):
        uploads.write_wav(io.BytesIO(b"text"), io.BytesIO(), max_duration_s=1)


def test_a_temporary_directory_that_takes_no_wav_is_told(no_temporary_files, tmp_path, capfd):
    (tmp_path / "a.au").write_bytes(encoded(1, 22050, "AU").read())
    told = pytest.raises(Refusal, match=f"no_room.*{no_temporary_files}")
    with (tmp_path / "a.au").open("rb") as file, told, uploads.nameless_file() as wav:
        uploads.write_wav(file, wav, max_duration_s=10)
    assert capfd.readouterr() == ("", "")


def levels_of(result):
    spectrogram = result["spectrogram"]
    flat = np.frombuffer(base64.b64decode(spectrogram["levels"]), np.uint8)
    return flat.reshape(spectrogram["columns"], spectrogram["bands"])


def test_it_says_what_the_recognition_says():
    recognition = recognition_of(patches=4, labels=("jazz", "rock", "folk"))
    result = json.loads(json.dumps(uploads.recognition_to_json(recognition)))
    assert result["labels"] == ["jazz", "rock", "folk"] and result["label"] == recognition.label
    np.testing.assert_allclose(result["probabilities"], recognition.probabilities, atol=1e-4)
    np.testing.assert_allclose(result["timeline"], recognition.timeline, atol=1e-4)
    np.testing.assert_allclose(result["starts_s"], recognition.starts_s, atol=1e-4)
    assert result["patch_s"] == 1.86 and result["duration_s"] == pytest.approx(300 / 43, abs=1e-4)


def test_a_short_spectrogram_keeps_each_frame_and_the_order_of_its_values():
    log_mel = recognition_of().log_mel
    levels = levels_of(uploads.recognition_to_json(recognition_of()))
    assert levels.shape == (300, 40) and levels.min() == 0 and levels.max() == 255
    order = np.argsort(log_mel, axis=None)
    assert (np.diff(levels.ravel()[order].astype(int)) >= 0).all()


def test_a_long_one_is_bounded_and_keeps_its_beats():
    log_mel = np.zeros((500_000, 40), np.float32)
    log_mel[250_000, 7] = 5
    result = uploads.recognition_to_json(dataclasses.replace(recognition_of(), log_mel=log_mel))
    levels = levels_of(result)
    assert levels.shape == (4000, 40) and len(result["spectrogram"]["levels"]) < 250_000
    assert np.argwhere(levels).tolist() == [[2000, 7]] and levels[2000, 7] == 255


@pytest.mark.parametrize("value", [0.0, -100.0])
def test_silence_has_one_shade(value):
    log_mel = np.full((90, 40), value, np.float32)
    levels = levels_of(uploads.recognition_to_json(dataclasses.replace(recognition_of(), log_mel=log_mel)))
    assert (levels == 0).all()


def test_digital_silence_between_does_not_take_the_shades():
    log_mel = np.random.default_rng(0).uniform(-40, 0, (1000, 40)).astype(np.float32)
    log_mel[:10] = -100
    levels = levels_of(uploads.recognition_to_json(dataclasses.replace(recognition_of(), log_mel=log_mel)))
    assert (levels[:10] == 0).all() and np.median(levels[10:]) == pytest.approx(127, abs=6)


def test_notes_are_told_in_words():
    said = [
        uploads.recognition_to_json(dataclasses.replace(recognition_of(), note=note))
        for note in (None, recognizer.SILENT, recognizer.CANCELLED)
    ]
    assert [result["note"] for result in said] == [None, "silent", "channels cancel"]
    first, *others = (result["note_in_words"] for result in said)
    assert first is None
    assert all(words.endswith(".") for words in others)


def test_a_silent_recording_has_no_label():
    silent = dataclasses.replace(
        recognition_of(), note=recognizer.SILENT, timeline=np.zeros((0, 2), np.float32), starts_s=np.zeros(0)
    )
    result = json.loads(json.dumps(uploads.recognition_to_json(silent)))
    assert (result["label"], result["timeline"], result["starts_s"]) == (None, [], [])


@pytest.mark.parametrize("reason", audio.REASONS)
def test_every_reason_has_words_of_its_own(reason):
    words = [Refusal.from_reject(audio.Reject(other, "")).message for other in audio.REASONS]
    refused = Refusal.from_reject(audio.Reject(reason, "what was found"))
    assert words.count(refused.message) == 1 and refused.message.endswith(".") and "_" not in refused.message[:20]
    assert refused.status == 422
    assert refused.to_json()["error"] == {
        "reason": reason,
        "message": refused.message,
        "detail": "what was found",
    }


def test_a_reason_of_a_later_version_is_still_told():
    assert Refusal.from_reject(audio.Reject("too_loud", "+20 dB")).message == "This file cannot be used."


def test_a_sentence_for_each_reason_and_no_other():
    assert uploads._REJECTS.keys() == set(audio.REASONS)


def test_a_file_for_which_there_is_no_room_is_no_fault_of_the_file():
    refused = Refusal.from_reject(audio.NoRoom("unreadable", "the temporary directory: No space left on device"))
    assert (refused.status, refused.reason) == (507, "no_room")
    assert refused.detail == "the temporary directory: No space left on device"
