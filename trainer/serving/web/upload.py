"""The body of a request: one file, never larger than allowed, and gone when it is closed."""

import contextlib
import io
import re
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from typing import BinaryIO

from trainer.serving.web.refusal import Refusal
from trainer.serving.web.temporary import filling, nameless

_BLOCK_BYTES = 1 << 18
# Of files larger than this, the system keeps what fits into its memory and writes the rest to its temporary directory.
_IN_MEMORY_BYTES = 8 << 20
_MEGABYTE = 1_000_000


def declared_bytes(headers: Message, most: int) -> int:
    """The length of a body, before any of it is read.

    Args:
      headers: of the request.
      most: bytes allowed.

    Raises:
      Refusal: the length is missing, no number, or more than `most`.
    """
    lengths = headers.get_all("Content-Length", [])
    if "Transfer-Encoding" in headers or not lengths:
        raise Refusal(HTTPStatus.LENGTH_REQUIRED, "no_length", "A file must be sent with its length (Content-Length).")
    if len(lengths) > 1 or not re.fullmatch("[0-9]{1,18}", lengths[0]):
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad_length", "Content-Length must be one whole number.")
    length = int(lengths[0])
    if length > most:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"The file is larger than {most / _MEGABYTE:g} MB. Send a shorter or a compressed one, or start the page "
            "with a larger --max_upload_mb.",
            f"{length / _MEGABYTE:.1f} MB",
        )
    return length


@contextlib.contextmanager
def received(source: io.BufferedIOBase, length: int) -> Iterator[BinaryIO]:
    """Reads a body into a file that is open for reading, at its start, and has no name in any directory.

    Raises:
      Refusal: the body ends early or too slowly, or there is no room for it.
    """
    with io.BytesIO() if length <= _IN_MEMORY_BYTES else nameless() as file:
        _copy(source, file, length)
        with filling():
            file.seek(0)
        yield file


def _copy(source: io.BufferedIOBase, file: BinaryIO, length: int) -> None:
    missing = length
    while missing:
        block = _next_block(source, min(missing, _BLOCK_BYTES))
        if not block:
            detail = f"{length - missing} of {length} bytes"
            raise Refusal(HTTPStatus.BAD_REQUEST, "broken_off", "The file did not arrive whole. Try again.", detail)
        with filling():
            file.write(block)
        missing -= len(block)


def _next_block(source: io.BufferedIOBase, size: int) -> bytes:
    try:
        return source.read(size)
    except TimeoutError:
        message = "The file arrived too slowly, so the server stopped waiting for it."
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "too_slow", message) from None
