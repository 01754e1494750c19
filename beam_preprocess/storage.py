"""Files on any file system that Beam supports, written whole or not at all.

FileSystems.match and FileSystems.delete take a name with the characters of a glob for a pattern, so files on this
machine are listed and deleted without them.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileSystem
from apache_beam.io.filesystems import FileSystems

from beam_preprocess.config import MAGIC
from tfrecords.common import shutdown
from tfrecords.common.command_line import UserError
from tfrecords.common.files import open_regular
from tfrecords.manifest import PARTIAL_DIR

_RAW = CompressionTypes.UNCOMPRESSED
_TEMPORARY = ".tmp"
# Beam passes on some of their errors as they are.
_STORE_LIBRARIES = (
    "apache_beam.io.aws.",
    "apache_beam.io.azure.",
    "azure.",
    "botocore.",
    "google.api_core.",
    "google.auth.",
    "google.cloud.",
    "google.resumable_media.",
    "hdfs.",
)


def partial_dir(output: str) -> str:
    """Return the directory for the files of an unfinished job.

    Raises:
      OSError: as `filesystem_of`.
    """
    return filesystem_of(output).join(output, PARTIAL_DIR)


def filesystem_of(uri: str) -> FileSystem:
    """Return Beam's file system for a file.

    Raises:
      OSError: Beam has none, or lacks a package for it.
    """
    try:
        return FileSystems.get_filesystem(uri)
    except ValueError as error:
        raise OSError(str(error)) from None


def exists(uri: str) -> bool:
    """Return whether there is such a file or directory.

    Raises:
      OSError: as `filesystem_of`, or a store has no such names. Stores may raise errors of their own libraries.
    """
    try:
        return filesystem_of(uri).exists(uri)
    except ValueError as error:
        raise OSError(str(error)) from None


def open_file(uri: str) -> BinaryIO:
    """Open a file for reading, as it is: an extension such as .gz does not matter.

    Raises:
      OSError: it is not there, cannot be opened, or is a pipe or a device.
    """
    # Stores only notice a missing file when it is read, and then raise errors of their own libraries.
    if FileSystems.get_scheme(uri) is None:
        return open_regular(uri)
    if not exists(uri):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    return FileSystems.open(uri, compression_type=_RAW)


def read_lines(uri: str) -> Iterator[str]:
    """Yield the lines of an ASCII file, without line ends.

    Raises:
      OSError: as `open_file`.
    """
    with open_file(uri) as file:
        for line in file:
            yield line.decode("ascii").rstrip("\n")


def list_files(directory: str) -> dict[str, int]:
    """Return name -> size in bytes of the files directly in a directory; none if there is no such directory.

    Raises:
      OSError: it cannot be listed. Stores may raise errors of their own libraries.
    """
    if local_path(directory) is not None:
        return _list_local(directory)
    directory = directory.rstrip("/")
    (match,) = FileSystems.match([pattern_below(directory, "*")])
    names = {
        metadata.path[len(directory) + 1 :]: metadata.size_in_bytes
        for metadata in match.metadata_list
        if metadata.path.startswith(f"{directory}/")
    }
    return {name: size for name, size in names.items() if name and "/" not in name}


def pattern_below(directory: str, pattern: str = "**") -> str:
    """Return a glob for what is below a directory.

    Beam has no way to escape a glob's characters: if the directory's name has some, more files match.
    """
    fixed = directory[: min((directory.index(sign) for sign in MAGIC if sign in directory), default=len(directory))]
    return f"{directory}/{pattern}" if fixed == directory else f"{fixed}**"


def _list_local(directory: str) -> dict[str, int]:
    sizes = {}
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                # Files that disappear meanwhile and broken links are skipped.
                with contextlib.suppress(OSError):
                    if entry.is_file():
                        sizes[entry.name] = entry.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return sizes


def size_of(uri: str) -> int | None:
    """Return the size of a file in bytes, or None if there is no such file."""
    path = local_path(uri)
    if path is not None:
        return path.stat().st_size if path.is_file() else None
    if not exists(uri):
        return None
    return FileSystems.get_filesystem(uri).metadata(uri).size_in_bytes


@contextlib.contextmanager
def replacing(output: str, name: str) -> Iterator[BinaryIO]:
    """Open output/name for writing; it appears, or is replaced, when the block ends without an error.

    If a signal ends this process, the temporary file is deleted, if it is on this machine.
    """
    directory = partial_dir(output)
    temporary = FileSystems.join(directory, f"{name.rpartition('/')[2]}.{uuid.uuid4().hex}{_TEMPORARY}")
    path = local_path(temporary)
    with shutdown.cleanup_on_signal(path.unlink) if path else contextlib.nullcontext():
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
    """Delete the temporary files of `replacing` in an output on this machine that no process writes to any more."""
    for path in Path(partial_dir(str(output))).glob(f"*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def write_text(output: str, name: str, text: str) -> None:
    """Write output/name, as UTF-8."""
    with replacing(output, name) as file:
        file.write(text.encode("utf-8"))


def read_text(uri: str) -> str | None:
    """Return the text of a UTF-8 file, or None if there is no such file."""
    if not exists(uri):
        return None
    with open_file(uri) as file:
        return file.read().decode("utf-8")


def local_path(uri: str) -> Path | None:
    """Return the path of a file on this machine, or None for one elsewhere."""
    return Path(uri) if FileSystems.get_scheme(uri) is None else None


def make_directories(uri: str) -> None:
    """Create a directory and its parents, unless it exists."""
    if not exists(uri):
        FileSystems.mkdirs(uri)


def delete(uris: list[str]) -> None:
    """Delete files and directories; those that do not exist are skipped."""
    existing = []
    for uri in uris:
        if exists(uri):
            existing.append(uri)
        elif not FileSystems.get_filesystem(uri).has_dirs():
            # In a flat store a directory is only a prefix of names; Beam deletes all names with that prefix.
            existing.append(f"{uri.rstrip('/')}/")
    remove(existing)


def remove(uris: list[str]) -> None:
    """Delete existing files and directories, all on one file system.

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
    """Turn errors of file systems within the block into UserError("<what>: <cause>"); others pass, as they are bugs.

    Raises:
      UserError: the block raised an error of a file system.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError | BeamIOError) and not type(error).__module__.startswith(_STORE_LIBRARIES):
            raise
        raise UserError(f"{what}: {cause(error)}") from error


def cause(error: object) -> str:
    """Return what went wrong in one line; Beam's errors say so only in their details."""
    if details := getattr(error, "exception_details", None):
        return "; ".join(dict.fromkeys(cause(detail) for detail in details.values()))
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())


_MARK = "beam_preprocess cannot go on: "
_MARKED = re.compile(f"{_MARK}(?={{)")


class OutputError(Exception):
    """A worker cannot write or read the output.

    Its only argument is a text: Beam creates the exception anew, with the stage's name appended to the text.
    """

    @classmethod
    def of(cls, what: str, error: Exception) -> Self:
        """Return the error for what cannot be done, such as "/out cannot be written"."""
        # JSON has no line breaks, and a parser finds its end.
        return cls(_MARK + json.dumps({"what": what, "reason": cause(error)}))


def writing_to(directory: str) -> contextlib.AbstractContextManager[None]:
    """Turn the errors of a file system within the block into OutputError.

    Raises:
      OutputError: the block raised an OSError or a BeamIOError.
    """
    return _telling(f"{directory} cannot be written")


def reading_from(uri: str) -> contextlib.AbstractContextManager[None]:
    """Do the same where a file of the output is read."""
    return _telling(f"{uri} cannot be read")


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, BeamIOError) as error:
        raise OutputError.of(what, error) from error


def message_in(text: str) -> str | None:
    """Return "what: reason" of the last OutputError in an engine's text, or None if there is none."""
    message = None
    for mark in _MARKED.finditer(text):
        # Text that only looks like an OutputError is skipped.
        with contextlib.suppress(ValueError, KeyError):
            fields, _ = json.JSONDecoder().raw_decode(text, mark.end())
            message = f"{fields['what']}: {fields['reason']}"
    return message
