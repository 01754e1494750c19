import pytest

from beam_preprocess import audio
from trainer.serving.web import refusal
from trainer.serving.web.refusal import Refusal


@pytest.mark.parametrize("reason", audio.REASONS)
def test_every_reason_has_words_of_its_own(reason):
    words = [Refusal.of(audio.Reject(other, "")).message for other in audio.REASONS]
    refused = Refusal.of(audio.Reject(reason, "what was found"))
    assert words.count(refused.message) == 1 and refused.message.endswith(".") and "_" not in refused.message[:20]
    assert refused.status == 422
    assert refused.to_json()["error"] == {
        "reason": reason,
        "message": refused.message,
        "detail": "what was found",
    }


def test_a_reason_of_a_later_version_is_still_told():
    assert Refusal.of(audio.Reject("too_loud", "+20 dB")).message == "This file cannot be used."


def test_a_sentence_for_each_reason_and_no_other():
    assert refusal._SENTENCES.keys() == set(audio.REASONS)


def test_a_file_for_which_there_is_no_room_is_no_fault_of_the_file():
    refused = Refusal.of(audio.NoRoom("unreadable", "the temporary directory: No space left on device"))
    assert (refused.status, refused.reason) == (507, "no_room")
    assert refused.detail == "the temporary directory: No space left on device"
