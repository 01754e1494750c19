"""The audio files that a command line names: files as they are, folders with all audio in them."""

import dataclasses
import os
import stat
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from beam_preprocess.audio import EXTENSIONS, Reject


@dataclasses.dataclass(frozen=True)
class Named:
    """A file to be looked at.

    Attributes:
      path: as it was named, or below the folder that was named.
      reject: why it is already known to be of no use.
    """

    path: str
    reject: Reject | None = None


def named_files(arguments: Sequence[str]) -> list[Named]:
    """The files in the order of the arguments, those of a folder by path; what cannot be listed says why.

    In folders, files count by their ending, hidden ones do not, and linked folders are followed once.
    """
    found: list[Named] = []
    for argument in arguments:
        found.extend(_in_folder(argument) if os.path.isdir(argument) else [Named(argument)])  # noqa: PTH112
    return found


def _in_folder(folder: str) -> list[Named]:
    found: list[Named] = []
    found.extend(_walk(folder, found))
    found.sort(key=lambda named: named.path)
    if not found:
        return [Named(folder, Reject("unreadable", f"a folder without audio (looked for {' '.join(EXTENSIONS)})"))]
    return found


def _walk(folder: str, failed: list[Named]) -> Iterator[Named]:
    def fail(error: OSError) -> None:
        failed.append(Named(os.fspath(error.filename), Reject("unreadable", error.strerror or str(error))))

    seen = set()
    for directory, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        real = os.path.realpath(directory)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield Named(os.path.join(directory, name))  # noqa: PTH118


def open_audio(path: str) -> BinaryIO:
    """Opens a file for reading.

    Raises:
      Reject: it is not there, may not be read, or is no file of bytes: a pipe could keep its reader waiting for ever.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            raise Reject("unreadable", "not a regular file")
        return open(path, "rb")  # noqa: PTH123 - a name of any bytes, closed by the caller
    except (OSError, ValueError) as error:
        raise Reject("unreadable", getattr(error, "strerror", None) or str(error)) from error
