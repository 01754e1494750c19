"""Files without a name in the temporary directory, which may be full or missing: then a person is told so."""

import contextlib
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from trainer.serving.web.refusal import no_room


@contextlib.contextmanager
def nameless() -> Iterator[BinaryIO]:
    """A file that is gone when the block ends, open for writing and reading; what writes to it is to use `filling`.

    Raises:
      Refusal: it cannot be made.
    """
    # On Linux a temporary file is never listed in its directory; elsewhere its name is removed at once.
    with filling():
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    try:
        yield file
    finally:
        # What did not fit is still in its buffer, and does not fit now either.
        with contextlib.suppress(OSError):
            file.close()


@contextlib.contextmanager
def filling() -> Iterator[None]:
    """Takes an error of the system in the block for one of the temporary directory.

    Raises:
      Refusal: there was one.
    """
    try:
        yield
    except OSError as error:
        raise no_room(error.strerror or str(error)) from None
