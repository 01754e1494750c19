"""What a person is told whose file, or whose request, cannot be used."""

from http import HTTPStatus
from typing import Any

from beam_preprocess.audio import NoRoom, Reject

# By reason of a Reject; the page shows the sentence, and the detail below it.
_SENTENCES = {
    "unreadable": "The file could not be read to its end.",
    "undecodable": "This is not audio that can be decoded. WAV, FLAC, MP3, M4A, OGG and other common formats can.",
    "unsupported_format": "This is music of a kind that is not read. Convert it to WAV, FLAC or MP3.",
    "truncated": "The file breaks off: it holds less audio than it says. Copy or download it again.",
    "unsupported_rate": "The file states a sample rate that no recording has, so it is probably damaged.",
    "not_finite": "The file holds samples that are no numbers, or absurdly large, so it is probably damaged.",
    "empty": "There is no sound in this file: it is empty.",
    "too_short": "The recording is too short: the model needs more to listen to.",
    "too_long": "The recording is too long. Cut a piece out, or start the page with a larger --max_duration_s.",
}


class Refusal(Exception):  # noqa: N818 - an outcome with a name of its own, not a fault of the program
    """An answer that is no result.

    Attributes:
      status: of HTTP.
      reason: one word, for programs.
      message: a sentence, for people.
      detail: what was found; may be empty.
    """

    def __init__(self, status: HTTPStatus, reason: str, message: str, detail: str = "") -> None:
        super().__init__(status, reason, message, detail)
        self.status = status
        self.reason = reason
        self.message = message
        self.detail = detail

    @classmethod
    def of(cls, reject: Reject) -> "Refusal":
        """A file that cannot be used, in plain words; or for which the server has no room."""
        if isinstance(reject, NoRoom):
            return no_room(reject.detail)
        message = _SENTENCES.get(reject.reason, "This file cannot be used.")
        return cls(HTTPStatus.UNPROCESSABLE_ENTITY, reject.reason, message, reject.detail)

    def to_json(self) -> dict[str, Any]:
        """As the page receives it."""
        return {"error": {"reason": self.reason, "message": self.message, "detail": self.detail}}


def no_room(detail: str) -> Refusal:
    """The temporary directory takes no more."""
    message = "The server's temporary directory has no room for the file."
    return Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "no_room", message, detail)


def busy() -> Refusal:
    """One client, or one file, more than the server takes at once."""
    message = "The server has as many files as it can hold. Try again in a moment."
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message)
