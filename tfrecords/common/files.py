"""Local files: opened only if they are regular, written atomically, in directories locked by one process."""

import contextlib
import errno
import fcntl
import io
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from tfrecords.common import shutdown
from tfrecords.common.command_line import UserError

# Of this project's directory among those of other programs.
CACHE_NAME = "music_genre_tfrecords"
# The longest file name that common file systems allow.
MAX_NAME_BYTES = 255
_TOKEN_BYTES = 4
_TEMPORARY = re.compile(rf"\.tmp-[0-9a-f]{{{2 * _TOKEN_BYTES}}}-.+")


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a file for reading.

    Raises:
      OSError: it cannot be opened, or is a pipe, a socket or a device, from which a read might never return.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer.
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


def user_cache_dir() -> Path:
    """Return where what can be made anew is kept between commands: below $XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / CACHE_NAME


def read_text(path: str | Path) -> str:
    """Return the text of a UTF-8 file.

    Raises:
      OSError: as `open_regular`.
      UnicodeDecodeError: it is not UTF-8 text.
    """
    with open_regular(path) as file:
        return file.read().decode("utf-8")


@contextlib.contextmanager
def atomic_write(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; after the block, flush the file to disk and rename it to `path`.

    With sync=False it is not flushed: it appears whole as well, but may be empty after a power failure. The temporary
    file is removed on errors and on SIGINT and SIGTERM; after SIGKILL, by `remove_temporary`.

    Raises:
      UserError: it cannot be written; an earlier file at `path` is unchanged.

    Example::

      with files.atomic_write(Path("grid.png")) as temporary:
          temporary.write_bytes(png)
    """
    # The suffix is kept, as Keras takes the format from it; a long name is cut at its start, to make room for the mark.
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
        # The write's own error is the one to raise.
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically.

    Raises:
      UserError: it cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8")


def is_temporary(name: str) -> bool:
    """Return whether a file's name is one of those that `atomic_write` writes to first."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_temporary(directory: Path, *, older_than_s: float = 0) -> None:
    """Remove temporary files that killed processes left in a directory.

    Args:
      directory: where to look, but not below it.
      older_than_s: seconds since a file was last written to; 0 only where no other process may be writing.

    Raises:
      OSError: the directory cannot be listed, or a file cannot be removed.
    """
    for path in directory.iterdir():
        if not is_temporary(path.name):
            continue
        # Another process may rename it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime >= older_than_s:
                path.unlink()


def shorten_name(name: str, max_bytes: int) -> str:
    """Return the longest beginning of a file name that takes at most max_bytes on disk, cut between characters.

    Example:
      >>> shorten_name("Björk.wav", 3)
      'Bj'
    """
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
    """Hold an exclusive lock on a directory within the block; the system releases it if the process dies.

    Args:
      directory: an existing directory.
      doing: what the holder of the lock does, as in "another process is ... there".

    Raises:
      UserError: another process holds the lock, or the directory cannot be opened.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{directory} cannot be used: {error.strerror}") from None
    try:
        # Some network file systems cannot lock a directory; there, nothing is locked.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{directory}: another process is {doing} there") from None
        yield
    finally:
        os.close(descriptor)
