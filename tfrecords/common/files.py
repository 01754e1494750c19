"""Files of this machine: opened only if they are files, written whole or not at all, by one process at a time."""

import contextlib
import errno
import fcntl
import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from tfrecords.common import shutdown
from tfrecords.common.command_line import UserError

# Of a file's name, on the file systems in use.
MAX_NAME_BYTES = 255
_TOKEN_BYTES = 4
_TEMPORARY = re.compile(rf"\.tmp-[0-9a-f]{{{2 * _TOKEN_BYTES}}}-.+")


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a file for reading.

    Raises:
      OSError: it cannot be opened, or is a pipe, a socket or a device, which could keep its reader waiting for ever.
    """
    # Without O_NONBLOCK, a pipe that nobody writes to would not even open.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return open(descriptor, "rb")  # noqa: PTH123 - closed by the caller
    except BaseException:
        os.close(descriptor)
        raise


def read_text(path: str | Path) -> str:
    """Return the text of a UTF-8 file.

    Raises:
      OSError: as `open_regular`.
      UnicodeDecodeError: it is no UTF-8 text.
    """
    with open_regular(path) as file:
        return file.read().decode("utf-8")


@contextlib.contextmanager
def atomic_write(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Give a temporary name of its own to write to; afterwards the file is on the disk and has its final name.

    With sync=False the file appears whole as well, but is not forced to the disk: after a power failure it may be
    empty.

    What is under the temporary name is gone in any case, also where a signal ends the process; but for a kill, after
    which `remove_temporary` finds it.

    Raises:
      UserError: it cannot be written; what the name held before is still there.
    """
    # The ending stays: it tells Keras the format. The beginning of a long name does not, to leave room for the mark.
    mark = f".tmp-{secrets.token_hex(_TOKEN_BYTES)}-"
    temporary = path.with_name(mark + shorten_name(path.name[::-1], MAX_NAME_BYTES - len(mark))[::-1])
    try:
        with shutdown.cleanup_on_signal(temporary.unlink):
            yield temporary
            if sync:
                _flush(temporary)
            temporary.replace(path)
        if sync:
            _flush(path.parent)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        # Why it could not be written is what is to be told.
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all.

    Raises:
      UserError: it cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8")


def remove_temporary(directory: Path) -> None:
    """Remove what killed processes have left of `atomic_write` in a directory that nobody else writes to.

    Raises:
      OSError: it cannot be listed, or a file cannot be removed.
    """
    for path in directory.iterdir():
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def shorten_name(name: str, max_bytes: int) -> str:
    """Return the beginning of a file's name that takes at most so many bytes on the disk, cut between characters."""
    size = 0
    for count, character in enumerate(name):
        size += len(os.fsencode(character))
        if size > max_bytes:
            return name[:count]
    return name


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock_directory(directory: Path, doing: str) -> Iterator[None]:
    """Keep other processes from writing to a directory. The lock ends with the process, however that ends.

    Args:
      directory: is there.
      doing: what whoever holds the lock does, as in "another process is ... there".

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
