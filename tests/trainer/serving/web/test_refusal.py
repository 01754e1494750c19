import pytest

from beam_preprocess import audio
from trainer.serving.web.refusal import Refusal


@pytest.mark.parametrize("reason", audio.REASONS)
def test_every_reason_has_words_of_its_own(reason):
    words = [Refusal.of(audio.Reject(other, "")).message for other in audio.REASONS]
    refusal = Refusal.of(audio.Reject(reason, "what was found"))
    assert words.count(refusal.message) == 1 and refusal.message.endswith(".") and "_" not in refusal.message[:20]
    assert refusal.status == 422
    assert refusal.to_json()["error"] == {
        "reason": reason,
        "message": refusal.message,
        "detail": "what was found",
    }


def test_a_reason_of_a_later_version_is_still_told():
    assert Refusal.of(audio.Reject("too_loud", "+20 dB")).message == "This file cannot be used."
