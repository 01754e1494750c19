"""The audio files that a command line names: files as they are, folders with all audio in them."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import BinaryIO

from beam_preprocess.audio import Reject
from beam_preprocess.audio.selection import COMMON_FORMATS, Selection, walk
from tfrecords.files import open_regular


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
    """Return the files in the order of the arguments, those of a folder by path; what cannot be listed says why.

    Of a folder those are taken that a preprocessing job takes; how many others it holds is said on standard error.
    """
    found: list[Named] = []
    for argument in arguments:
        found.extend(_in_folder(argument) if os.path.isdir(argument) else [Named(argument)])  # noqa: PTH112
    return found


def _in_folder(folder: str) -> list[Named]:
    found: list[Named] = []

    def fail(error: OSError) -> None:
        found.append(Named(os.fspath(error.filename), Reject("unreadable", error.strerror or str(error))))

    selection = Selection()
    found.extend(map(Named, walk(folder, selection, fail)))
    found.sort(key=lambda named: named.path)
    if not found:
        there = f"; there are {selection.kinds()}" if selection.others else ""
        return [Named(folder, Reject("unreadable", f"a folder without audio{there} (read is {COMMON_FORMATS})"))]
    if selection.others:
        print(f"{folder}: {selection.describe()}", file=sys.stderr, flush=True)
    return found


def open_audio(path: str) -> BinaryIO:
    """Opens a file for reading.

    Raises:
      Reject: it is not there, may not be read, or is no file of bytes: a pipe could keep its reader waiting for ever.
    """
    try:
        return open_regular(path)
    except (OSError, ValueError) as error:
        raise Reject("unreadable", getattr(error, "strerror", None) or str(error)) from error
