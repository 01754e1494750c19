import base64
import dataclasses
import json

import numpy as np
import pytest

from beam_preprocess import audio
from tests.trainer.serving.web.page_server import recognition_of
from trainer.serving import recognizer
from trainer.serving.web import uploads
from trainer.serving.web.uploads import Refusal


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
