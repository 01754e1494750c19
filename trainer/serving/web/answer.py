"""The server's answers as JSON: a recognition, of bounded size, or a refusal."""

import base64
from http import HTTPStatus
from typing import Any

import numpy as np

from beam_preprocess.audio import NoRoom, Reject
from trainer.serving.recognizer import CANCELLED, SILENT, Recognition

# By the note of a recognition, for people.
_NOTES = {
    SILENT: "There is no sound in this recording, so it has no genre.",
    CANCELLED: "The channels of this recording cancel: next to nothing is left in their mean, which is what the model "
    "hears.",
}
# By the reason of a Reject, for people; the page shows the reject's detail below.
_REJECTS = {
    "unreadable": "The file could not be read to its end.",
    "undecodable": "This is not audio that can be decoded. WAV, FLAC, MP3, M4A, OGG and other common formats can.",
    "unsupported_format": "Music in this format cannot be read. Convert it to WAV, FLAC or MP3.",
    "truncated": "The file is cut off: it holds less audio than its header says. Copy or download it again.",
    "unsupported_rate": "The file states a sample rate that no recording has, so it is probably damaged.",
    "not_finite": "The file holds samples that are not finite, or absurdly large, so it is probably damaged.",
    "empty": "There is no sound in this file: it is empty.",
    "too_short": "The recording is too short for the model.",
    "too_long": "The recording is too long. Cut a piece out, or start the page with a larger --max_duration_s.",
}
# More than a wide screen has pixels; with this bound, three hours take no more bytes than a minute and a half.
_MAX_COLUMNS = 4_000
# Spectrogram values below this quantile share the darkest shade; else digital silence would take half of the shades.
_DARKEST_QUANTILE = 0.02


class Refusal(Exception):  # noqa: N818 - an expected outcome, not an error of the program
    """An answer other than a result.

    Attributes:
      status: HTTP status.
      reason: one word, for programs.
      message: a sentence, for people.
      detail: what was received; may be empty.
    """

    def __init__(self, status: HTTPStatus, reason: str, message: str, detail: str = "") -> None:
        super().__init__(status, reason, message, detail)
        self.status = status
        self.reason = reason
        self.message = message
        self.detail = detail

    @classmethod
    def from_reject(cls, reject: Reject) -> "Refusal":
        """Refuse a file that cannot be used, or for which the server has no room."""
        if isinstance(reject, NoRoom):
            return no_room(reject.detail)
        message = _REJECTS.get(reject.reason, "This file cannot be used.")
        return cls(HTTPStatus.UNPROCESSABLE_ENTITY, reject.reason, message, reject.detail)

    def to_json(self) -> dict[str, Any]:
        """Return the answer as the page reads it."""
        return {"error": {"reason": self.reason, "message": self.message, "detail": self.detail}}


def no_room(detail: str) -> Refusal:
    """Refuse a file that the temporary directory cannot hold."""
    message = "The server's temporary directory has no room for the file."
    return Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "no_room", message, detail)


def busy() -> Refusal:
    """Refuse a client or a file beyond the number that the server takes at once."""
    message = "The server has as many files as it can hold. Try again in a moment."
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message)


def recognition_to_json(recognition: Recognition) -> dict[str, Any]:
    """Return what the page draws.

    Returns:
      label, note and note_in_words (each may be null), labels, probabilities [labels], starts_s [patches], patch_s,
      timeline [patches][labels], empty where there is no label, duration_s, and spectrogram: columns, bands and levels,
      base64 of [columns, bands] bytes from 0 to 255.
    """
    levels = _levels(_fewer_columns(recognition.log_mel))
    columns, bands = levels.shape
    return {
        "label": recognition.label,
        "note": recognition.note,
        "note_in_words": _NOTES[recognition.note] if recognition.note else None,
        "labels": list(recognition.labels),
        "probabilities": _rounded(recognition.probabilities),
        "starts_s": _rounded(recognition.starts_s),
        "patch_s": round(float(recognition.patch_s), 4),
        "timeline": [_rounded(patch) for patch in recognition.timeline],
        "duration_s": round(float(recognition.duration_s), 4),
        "spectrogram": {
            "columns": columns,
            "bands": bands,
            "levels": base64.b64encode(levels.tobytes()).decode("ascii"),
        },
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]


def _fewer_columns(log_mel: np.ndarray) -> np.ndarray:
    """Return at most _MAX_COLUMNS columns, the maximum of neighbouring frames, so that beats stay visible."""
    frames = len(log_mel)
    if frames <= _MAX_COLUMNS:
        return log_mel
    starts = np.arange(_MAX_COLUMNS) * frames // _MAX_COLUMNS
    return np.maximum.reduceat(log_mel, starts, axis=0)


def _levels(log_mel: np.ndarray) -> np.ndarray:
    """Return the values as bytes, from the quietest (0) to the loudest (255) of this recording."""
    if not log_mel.size:
        return np.zeros(log_mel.shape, np.uint8)
    low, high = np.quantile(log_mel, _DARKEST_QUANTILE), log_mel.max()
    return np.clip(np.rint((log_mel - low) * (255 / max(high - low, 1e-6))), 0, 255).astype(np.uint8)
