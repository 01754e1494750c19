"""Files of a job: those of tfrecords.storage, and how their errors reach the person who started the job.

An engine passes on no more of a worker's error than its text, so what is to be said is marked in it.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Self

from tfrecords import storage
from tfrecords.common.command_line import UserError
from tfrecords.manifest import PARTIAL_DIR
from tfrecords.storage import (
    delete,
    delete_tree,
    exists,
    is_remote,
    join,
    list_files,
    local_path,
    make_directories,
    move,
    open_file,
    plain,
    scheme_of,
    split,
    walk,
)

__all__ = [
    "delete",
    "delete_tree",
    "exists",
    "is_remote",
    "join",
    "list_files",
    "local_path",
    "make_directories",
    "move",
    "open_file",
    "plain",
    "scheme_of",
    "split",
    "walk",
]


def partial_dir(output: str) -> str:
    """Return the directory for the files of an unfinished job."""
    return join(output, PARTIAL_DIR)


def read_lines(uri: str) -> Iterator[str]:
    """Yield the lines of an ASCII file, without line ends.

    Raises:
      OSError: as `open_file`.
    """
    with open_file(uri) as file:
        for line in file:
            yield line.decode("ascii").rstrip("\n")


def size_of(uri: str) -> int | None:
    """Return the size of a file in bytes, or None if there is no such file."""
    return storage.size(uri)


def replacing(
    output: str, name: str, *, suffix: Callable[[], str] = str
) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Open output/name, with `suffix()` at its end, for writing; it appears when the block ends without an error."""
    temporary = None if is_remote(output) else partial_dir(output)
    return storage.writing(join(output, name), temporary_dir=temporary, suffix=suffix)


def delete_temporary(output: Path) -> None:
    """Delete the temporary files of `replacing` in an output on this machine that no process writes to any more."""
    for path in Path(partial_dir(str(output))).glob(f"*{storage.TEMPORARY}"):
        path.unlink(missing_ok=True)


def write_text(output: str, name: str, text: str) -> None:
    """Write output/name, as UTF-8."""
    with replacing(output, name) as file:
        file.write(text.encode("utf-8"))


def read_text(uri: str) -> str | None:
    """Return the text of a UTF-8 file, or None if there is no such file."""
    try:
        return storage.read_text(uri)
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextlib.contextmanager
def reporting(what: str) -> Iterator[None]:
    """Turn errors of file systems within the block into UserError("<what>: <cause>").

    Raises:
      UserError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{what}: {cause(error)}") from error


def cause(error: object) -> str:
    """Return what went wrong in one line."""
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
      OutputError: the block raised an OSError.
    """
    return _telling(f"{directory} cannot be written")


def reading_from(uri: str) -> contextlib.AbstractContextManager[None]:
    """Do the same where a file of the output is read."""
    return _telling(f"{uri} cannot be read")


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
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
