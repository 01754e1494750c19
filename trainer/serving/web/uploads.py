"""Uploaded files, kept in memory or in a nameless temporary file, and their conversion to WAV."""

import asyncio
import contextlib
import io
import tempfile
import wave
from collections.abc import Iterator
from http import HTTPStatus
from typing import BinaryIO

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from beam_preprocess import audio
from trainer.serving.web.answer import Refusal, no_room

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
