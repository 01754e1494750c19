import asyncio
import io
import tempfile

import numpy as np
import pytest
import soundfile
from starlette.datastructures import Headers
from starlette.requests import Request

from beam_preprocess.audio import Reject
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
