"""Files on any file system that Beam knows, written whole or not at all.

Beam takes a name that holds a glob's characters for a pattern, in FileSystems.match and FileSystems.delete; so files of
this machine are listed and deleted without it.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileSystem
from apache_beam.io.filesystems import FileSystems

from beam_preprocess.config import MAGIC
from tfrecords.common import shutdown
from tfrecords.common.command_line import UserError
from tfrecords.common.files import open_regular
from tfrecords.manifest import PARTIAL_DIR

_RAW = CompressionTypes.UNCOMPRESSED
_TEMPORARY = ".tmp"
# Beam lets some of their errors through.
_STORE_LIBRARIES = (
    "apache_beam.io.aws.",
    "apache_beam.io.azure.",
    "azure.core.",
    "botocore.",
    "google.api_core.",
    "google.auth.",
    "google.cloud.",
    "hdfs.",
)


def partial_dir(output: str) -> str:
    """Where the files of an unfinished job are.

    Raises:
      OSError: as `filesystem_of`.
    """
    return filesystem_of(output).join(output, PARTIAL_DIR)


def filesystem_of(uri: str) -> FileSystem:
    """Beam's file system for a file.

    Raises:
      OSError: Beam has none, or lacks what it needs for it.
    """
    try:
        return FileSystems.get_filesystem(uri)
    except ValueError as error:
        raise OSError(str(error)) from None


def open_file(uri: str) -> BinaryIO:
    """Opens a file for reading, without regard to what its extension says of compression.

    Raises:
      OSError: it is not there, cannot be opened, or is a pipe or a device.
    """
    # Stores notice a missing file when it is read, and raise what only their own library knows.
    if FileSystems.get_scheme(uri) is None:
        return open_regular(uri)
    if not filesystem_of(uri).exists(uri):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    return FileSystems.open(uri, compression_type=_RAW)


def read_lines(uri: str) -> Iterator[str]:
    """Yields the lines of an ASCII file, one after another, without what ends them.

    Raises:
      OSError: as `open_file`.
    """
    with open_file(uri) as file:
        for line in file:
            yield line.decode("ascii").rstrip("\n")


def list_files(directory: str) -> dict[str, int]:
    """The files that lie right in a directory, whatever its name: name -> bytes; none where there is no directory.

    Raises:
      OSError: it cannot be listed; stores in a cloud may raise errors of their own libraries.
    """
    if local_path(directory) is not None:
        return _list_local(directory)
    directory = directory.rstrip("/")
    (match,) = FileSystems.match([pattern_below(directory, "*")])
    found = {metadata.path: metadata.size_in_bytes for metadata in match.metadata_list}
    names = ((path[len(directory) + 1 :], size) for path, size in found.items() if path.startswith(f"{directory}/"))
    return {name: size for name, size in names if name and "/" not in name}


def pattern_below(directory: str, pattern: str = "**") -> str:
    """A glob for what lies below a directory; where its name is like a glob, it matches all that begins like it too.

    Beam knows no way to quote what it takes for a pattern.
    """
    fixed = directory[: min((directory.index(sign) for sign in MAGIC if sign in directory), default=len(directory))]
    return f"{directory}/{pattern}" if fixed == directory else f"{fixed}**"


def _list_local(directory: str) -> dict[str, int]:
    found = {}
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                # What disappears meanwhile, or leads nowhere, is no file.
                with contextlib.suppress(OSError):
                    if entry.is_file():
                        found[entry.name] = entry.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found


def size_of(uri: str) -> int | None:
    """The bytes of a file; None where there is no such file."""
    path = local_path(uri)
    if path is not None:
        return path.stat().st_size if path.is_file() else None
    if not FileSystems.exists(uri):
        return None
    return FileSystems.get_filesystem(uri).metadata(uri).size_in_bytes


@contextlib.contextmanager
def replacing(output: str, name: str) -> Iterator[BinaryIO]:
    """Opens output/name for writing: it appears, or is replaced, when the block ends without an error.

    Where a signal ends this process, the temporary file is gone if it is on this machine.
    """
    directory = partial_dir(output)
    temporary = FileSystems.join(directory, f"{name.rpartition('/')[2]}.{uuid.uuid4().hex}{_TEMPORARY}")
    here = local_path(temporary)
    with shutdown.cleanup_on_signal(here.unlink) if here else contextlib.nullcontext():
        file = FileSystems.create(temporary, compression_type=_RAW)
        try:
            with file:
                yield file
        except BaseException:
            with contextlib.suppress(OSError):
                remove([temporary])
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
    remove(there)


def remove(uris: list[str]) -> None:
    """Deletes files and directories that are known to be there, all on one file system.

    Raises:
      OSError: one cannot be deleted.
    """
    if any(local_path(uri) is None for uri in uris):
        FileSystems.delete(uris)
        return
    for uri in uris:
        if os.path.isdir(uri) and not os.path.islink(uri):  # noqa: PTH112, PTH114
            shutil.rmtree(uri)
        else:
            os.unlink(uri)  # noqa: PTH108


@contextlib.contextmanager
def reporting(what: str) -> Iterator[None]:
    """Turns an error of a file system into one line; another one is a fault of ours, and stays what it is.

    Raises:
      UserError: the block raised what a file system raises.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_a_file_system(error):
            raise
        raise UserError(f"{what}: {cause(error)}") from error


def _is_of_a_file_system(error: Exception) -> bool:
    """Whether it is the system's, Beam's, or of a library by which Beam reaches a store."""
    return isinstance(error, OSError | BeamIOError) or type(error).__module__.startswith(_STORE_LIBRARIES)


def cause(error: object) -> str:
    """What went wrong, in one line; Beam's errors tell it only among their details."""
    if details := getattr(error, "exception_details", None):
        return "; ".join(dict.fromkeys(cause(detail) for detail in details.values()))
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
