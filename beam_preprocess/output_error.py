"""What keeps a worker from writing, such as a full disk, told so that the launcher finds it in any engine's text.

Engines hand a worker's exception on as text, with its traceback, and the local runner does too.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Self

from apache_beam.io.filesystem import BeamIOError

from beam_preprocess import storage

_MARK = "beam_preprocess cannot write "
_MARKED = re.compile(f"{_MARK}(?={{)")


class OutputError(Exception):
    """A worker cannot write.

    Its only argument is a text: Beam makes the exception anew, with the name of the stage behind the text.
    """

    @classmethod
    def of(cls, where: str, error: Exception) -> Self:
        """The error that tells why a directory cannot be written to."""
        # JSON has no line breaks, and says itself where it ends.
        return cls(_MARK + json.dumps({"where": where, "reason": storage.cause(error)}))


@contextlib.contextmanager
def writing_to(directory: str) -> Iterator[None]:
    """Around what a worker writes.

    Raises:
      OutputError: the block raised an error of a file system.
    """
    try:
        yield
    except (OSError, BeamIOError) as error:
        raise OutputError.of(directory, error) from error


def told_in(text: str) -> str | None:
    """What the last OutputError in an engine's text says, as "directory: reason"; None where there is none."""
    told = None
    for mark in _MARKED.finditer(text):
        # What merely looks like one is none of ours.
        with contextlib.suppress(ValueError, KeyError):
            found, _ = json.JSONDecoder().raw_decode(text, mark.end())
            told = f"{found['where']}: {found['reason']}"
    return told
