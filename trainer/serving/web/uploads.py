"""Uploaded files: how they are kept and converted to WAV, and the JSON of a recognition or of a refusal."""

import asyncio
import base64
import contextlib
import io
import tempfile
import wave
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, BinaryIO

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from beam_preprocess import audio
from beam_preprocess.audio import NoRoom, Reject
from trainer.serving.answers import headline
from trainer.serving.recognizer import CANCELLED, SILENT, Recognition

# By the note of a recognition, for people.
_NOTES = {
    SILENT: "There is no sound in this recording, so it has no genre.",
    CANCELLED: "The channels of this recording cancel: next to nothing is left in their mean, which is what the model "
    "hears.",
}
# Of an answer that is no plain one, for people.
_UNSURE = "The model is not sure: answers of this kind are too often wrong."
_UNFAMILIAR = "The model was trained on no such music, so that the genre below means little."
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
      label, headline, note and note_in_words (each may be null), labels, probabilities [labels], starts_s [patches],
      patch_s, timeline [patches][labels], empty where there is no label, duration_s, and spectrogram: columns, bands
      and levels, base64 of [columns, bands] bytes from 0 to 255.
    """
    levels = _levels(_fewer_columns(recognition.log_mel))
    columns, bands = levels.shape
    return {
        "label": recognition.label,
        "note": recognition.note,
        "headline": None if recognition.label is None else headline(recognition),
        "note_in_words": _note_in_words(recognition),
        "labels": list(recognition.labels),
        "probabilities": _rounded(recognition.calibrated),
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


def _note_in_words(recognition: Recognition) -> str | None:
    if recognition.note:
        return _NOTES[recognition.note]
    if recognition.answer is None or (recognition.answer.sure and recognition.answer.familiar):
        return None
    return _UNSURE if recognition.answer.familiar else _UNFAMILIAR


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


# Larger files go to the temporary directory; the system keeps in memory what fits.
_IN_MEMORY_BYTES = 8 << 20
_MEGABYTE = 1_000_000
_WAV_RATE_HZ = 22_050
_FULL_SCALE = 32767


def declared_bytes(headers: Headers, limit: int) -> int:
    """Return the length of a request's body, before any of it is read.

    Args:
      headers: of the request; h11 has checked that Content-Length is one whole number.
      limit: bytes allowed.

    Raises:
      Refusal: the length is missing or above the limit.
    """
    if "Transfer-Encoding" in headers or "Content-Length" not in headers:
        raise Refusal(HTTPStatus.LENGTH_REQUIRED, "no_length", "A file must be sent with its length (Content-Length).")
    length = int(headers["Content-Length"])
    if length > limit:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"The file is larger than {limit / _MEGABYTE:g} MB. Send a shorter or a compressed one, or start the page "
            "with a larger --max_upload_mb.",
            f"{length / _MEGABYTE:.1f} MB",
        )
    return length


def empty_file(length: int) -> contextlib.AbstractContextManager[BinaryIO]:
    """Return an empty file with room for `length` bytes, closed and removed when the block ends.

    Raises:
      Refusal: it cannot be made.
    """
    return io.BytesIO() if length <= _IN_MEMORY_BYTES else nameless_file()


@contextlib.contextmanager
def nameless_file() -> Iterator[BinaryIO]:
    """Open a file in the temporary directory for writing and reading; it is removed when the block ends.

    Raises:
      Refusal: it cannot be made.
    """
    # On Linux the file never appears in its directory; elsewhere its name is removed at once.
    with _errors_as_no_room():
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    try:
        yield file
    finally:
        # Closing flushes the buffer, which fails again on a full disk.
        with contextlib.suppress(OSError):
            file.close()


async def receive(request: Request, file: BinaryIO, limit_s: float) -> None:
    """Write a request's body to a file and rewind it.

    Raises:
      Refusal: the body takes longer than `limit_s`, the client goes away, or there is no room for it.
    """
    try:
        async with asyncio.timeout(limit_s):
            async for block in request.stream():
                if isinstance(file, io.BytesIO):
                    file.write(block)
                else:
                    await run_in_threadpool(_write, file, block)
    except TimeoutError:
        message = "The file arrived too slowly, so the server stopped waiting for it."
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "too_slow", message) from None
    except ClientDisconnect:
        raise Refusal(HTTPStatus.BAD_REQUEST, "broken_off", "The file did not arrive whole.") from None
    with _errors_as_no_room():
        file.seek(0)


def write_wav(file: BinaryIO, wav: BinaryIO, *, max_duration_s: float) -> int:
    """Decode audio that a browser may not know, such as AU and AIFF, to WAV: mono, 16 bits, 22050 Hz.

    Args:
      file: any audio.
      wav: empty; rewound at the end.
      max_duration_s: longer audio is rejected.

    Returns:
      The length of the WAV file in bytes.

    Raises:
      Reject: the file cannot be used.
      Refusal: the temporary directory has no room for the WAV file.
    """
    with _errors_as_no_room():
        # Not soundfile, which prints errors in writing to a Python file, and goes on.
        with wave.open(wav, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(_WAV_RATE_HZ)
            for block in audio.stream(file, sample_rate=_WAV_RATE_HZ, min_samples=1, max_duration_s=max_duration_s):
                sound.writeframesraw(np.rint(_FULL_SCALE * np.clip(block, -1, 1)).astype(np.int16).tobytes())
        length = wav.seek(0, io.SEEK_END)
        wav.seek(0)
    return length


def _write(file: BinaryIO, block: bytes) -> None:
    with _errors_as_no_room():
        file.write(block)


@contextlib.contextmanager
def _errors_as_no_room() -> Iterator[None]:
    """Turn an OSError, which comes from a full or missing temporary directory, into a Refusal."""
    try:
        yield
    except OSError as error:
        raise no_room(error.strerror or str(error)) from None
