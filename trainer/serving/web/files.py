"""The files that a request leaves in memory or, without a name, in the temporary directory: its body, a WAV of it."""

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
from trainer.serving.web.refusal import Refusal, no_room

# Of files larger than this, the system keeps what fits into its memory and writes the rest to its temporary directory.
_IN_MEMORY_BYTES = 8 << 20
_MEGABYTE = 1_000_000
_WAV_RATE_HZ = 22_050
_FULL_SCALE = 32767


def declared_bytes(headers: Headers, most: int) -> int:
    """The length of a body, before any of it is read. That Content-Length is one whole number is seen to by uvicorn.

    Args:
      headers: of the request.
      most: bytes allowed.

    Raises:
      Refusal: the length is missing, or more than `most`.
    """
    if "Transfer-Encoding" in headers or "Content-Length" not in headers:
        raise Refusal(HTTPStatus.LENGTH_REQUIRED, "no_length", "A file must be sent with its length (Content-Length).")
    length = int(headers["Content-Length"])
    if length > most:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"The file is larger than {most / _MEGABYTE:g} MB. Send a shorter or a compressed one, or start the page "
            "with a larger --max_upload_mb.",
            f"{length / _MEGABYTE:.1f} MB",
        )
    return length


def empty_file(length: int) -> contextlib.AbstractContextManager[BinaryIO]:
    """An empty file for so many bytes, gone when the block ends.

    Raises:
      Refusal: it cannot be made.
    """
    return io.BytesIO() if length <= _IN_MEMORY_BYTES else nameless()


async def receive(request: Request, file: BinaryIO, limit_s: float) -> None:
    """Writes a body to a file, and goes back to its start.

    Raises:
      Refusal: the body takes longer than `limit_s`, its client goes away, or there is no room for it.
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
    with _filling():
        file.seek(0)


def _write(file: BinaryIO, block: bytes) -> None:
    with _filling():
        file.write(block)


def write_wav(file: BinaryIO, wav: BinaryIO, *, max_duration_s: float) -> int:
    """Decodes audio that a browser may not know, such as AU and AIFF, into what it plays: mono, 16 bits, 22050 Hz.

    Args:
      file: any audio.
      wav: empty; left at its start.
      max_duration_s: that is taken.

    Returns:
      The length of the WAV in bytes.

    Raises:
      Reject: the file cannot be used.
      Refusal: the temporary directory has no room for it.
    """
    with _filling():
        # Not by soundfile, which prints what goes wrong in writing to a Python file, and goes on.
        with wave.open(wav, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(_WAV_RATE_HZ)
            for block in audio.stream(file, sample_rate=_WAV_RATE_HZ, min_samples=1, max_duration_s=max_duration_s):
                sound.writeframesraw(np.rint(_FULL_SCALE * np.clip(block, -1, 1)).astype(np.int16).tobytes())
        length = wav.seek(0, io.SEEK_END)
        wav.seek(0)
    return length


@contextlib.contextmanager
def nameless() -> Iterator[BinaryIO]:
    """A file in the temporary directory that is gone when the block ends, open for writing and reading.

    Raises:
      Refusal: it cannot be made.
    """
    # On Linux a temporary file is never listed in its directory; elsewhere its name is removed at once.
    with _filling():
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    try:
        yield file
    finally:
        # What did not fit is still in its buffer, and does not fit now either.
        with contextlib.suppress(OSError):
            file.close()


@contextlib.contextmanager
def _filling() -> Iterator[None]:
    """Takes an error of the system in the block for one of the temporary directory, which may be full or missing.

    Raises:
      Refusal: there was one.
    """
    try:
        yield
    except OSError as error:
        raise no_room(error.strerror or str(error)) from None
