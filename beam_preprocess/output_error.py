"""An error that tells why a worker cannot write, in a form that the launcher recognizes in any engine's text.

Engines, the local runner included, pass a worker's exception on as text, with its traceback.
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

    Its only argument is a text: Beam creates the exception anew, with the stage's name appended to the text.
    """

    @classmethod
    def of(cls, directory: str, error: Exception) -> Self:
        """Return the error for a directory that cannot be written to."""
        # JSON has no line breaks, and a parser finds its end.
        return cls(_MARK + json.dumps({"where": directory, "reason": storage.cause(error)}))


@contextlib.contextmanager
def writing_to(directory: str) -> Iterator[None]:
    """Turn the errors of a file system within the block into OutputError.

    Raises:
      OutputError: the block raised an OSError or a BeamIOError.
    """
    try:
        yield
    except (OSError, BeamIOError) as error:
        raise OutputError.of(directory, error) from error


def message_in(text: str) -> str | None:
    """Return "directory: reason" of the last OutputError in an engine's text, or None if there is none."""
    message = None
    for mark in _MARKED.finditer(text):
        # Text that only looks like an OutputError is skipped.
        with contextlib.suppress(ValueError, KeyError):
            fields, _ = json.JSONDecoder().raw_decode(text, mark.end())
            message = f"{fields['where']}: {fields['reason']}"
    return message
