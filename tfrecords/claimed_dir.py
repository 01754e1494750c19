"""A directory that one process at a time writes to."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tfrecords.command_line import UserError


@contextlib.contextmanager
def claimed(directory: Path, doing: str) -> Iterator[None]:
    """Keeps other processes from writing to a directory. The claim ends with the process, however that ends.

    Args:
      directory: is there.
      doing: what whoever holds the claim does, as in "another process is ... there".

    Raises:
      UserError: another one is doing it, or the directory cannot be opened.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{directory} cannot be used: {error.strerror}") from None
    try:
        # Some network file systems cannot lock a directory; there nobody is kept away.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{directory}: another process is {doing} there") from None
        yield
    finally:
        os.close(descriptor)
