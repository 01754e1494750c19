"""Files on any file system that Beam knows, written whole or not at all."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from tfrecords import shutdown
from tfrecords.command_line import UserError
from tfrecords.files import open_regular
from tfrecords.manifest import PARTIAL_DIR

_RAW = CompressionTypes.UNCOMPRESSED
_TEMPORARY = ".tmp"


def partial_dir(output: str) -> str:
    """Where the files of an unfinished job are."""
    return FileSystems.join(output, PARTIAL_DIR)


def open_file(uri: str) -> BinaryIO:
    """Opens a file for reading, without regard to what its extension says of compression.

    Raises:
      OSError: it is not there, cannot be opened, or is a pipe or a device.
    """
    # Stores notice a missing file when it is read, and raise what only their own library knows.
    if FileSystems.get_scheme(uri) is None:
        return open_regular(uri)
    if not FileSystems.exists(uri):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    return FileSystems.open(uri, compression_type=_RAW)


@contextlib.contextmanager
def replacing(output: str, name: str) -> Iterator[BinaryIO]:
    """Opens output/name for writing: it appears, or is replaced, when the block ends without an error.

    Where a signal ends this process, the temporary file is gone if it is on this machine.
    """
    directory = partial_dir(output)
    temporary = FileSystems.join(directory, f"{name.rpartition('/')[2]}.{uuid.uuid4().hex}{_TEMPORARY}")
    here = local_path(temporary)
    with shutdown.if_ended(here.unlink) if here else contextlib.nullcontext():
        file = FileSystems.create(temporary, compression_type=_RAW)
        try:
            with file:
                yield file
        except BaseException:
            with contextlib.suppress(BeamIOError):
                FileSystems.delete([temporary])
            raise
        FileSystems.rename([temporary], [FileSystems.join(output, name)])


def delete_temporary(output: Path) -> None:
    """Deletes what `replacing` has begun in an output of this machine that no process writes to any more."""
    for path in Path(partial_dir(str(output))).glob(f"*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def write_text(output: str, name: str, text: str) -> None:
    """Writes output/name, UTF-8."""
    with replacing(output, name) as file:
        file.write(text.encode("utf-8"))


def read_text(uri: str) -> str | None:
    """The file's text, or None where there is no such file."""
    if not FileSystems.exists(uri):
        return None
    with open_file(uri) as file:
        return file.read().decode("utf-8")


def local_path(uri: str) -> Path | None:
    """The path of a file on this machine; None for one elsewhere."""
    return Path(uri) if FileSystems.get_scheme(uri) is None else None


def make_directories(uri: str) -> None:
    """Makes a directory and its parents; one that is there already is fine."""
    if not FileSystems.exists(uri):
        FileSystems.mkdirs(uri)


def delete(uris: list[str]) -> None:
    """Deletes files and directories, those that are there."""
    there = []
    for uri in uris:
        if FileSystems.exists(uri):
            there.append(uri)
        elif not FileSystems.get_filesystem(uri).has_dirs():
            # In a flat store a directory is but the beginning of names; Beam deletes all that begin so.
            there.append(f"{uri.rstrip('/')}/")
    FileSystems.delete(there)


@contextlib.contextmanager
def reporting(what: str) -> Iterator[None]:
    """Turns an error of a file system into one line.

    Raises:
      UserError: the block raised what a file system raises; stores in a cloud raise errors of their own libraries.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {cause(error)}") from error


def cause(error: object) -> str:
    """What went wrong, in one line; Beam's errors tell it only among their details."""
    if details := getattr(error, "exception_details", None):
        return "; ".join(dict.fromkeys(cause(detail) for detail in details.values()))
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
