"""An error that tells why a worker cannot write or read the output.

The launcher recognizes it in any engine's text. Engines, the local runner included, pass a worker's exception on
as text, with its traceback.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Self

from apache_beam.io.filesystem import BeamIOError

from beam_preprocess import storage

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
        return cls(_MARK + json.dumps({"what": what, "reason": storage.cause(error)}))


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
