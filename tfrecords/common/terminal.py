"""The line at the bottom of a terminal that says how far something is; drawn over until it is cleared.

What a command tells a person while it works, and what it does not let others say.
"""

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

_CLEAR = "\r\x1b[K"


class TerminalLine:
    """Draws one line over itself. In a log, which is no terminal, nothing is drawn.

    Args:
      stream: by default standard error.

    Attributes:
      stream: where it is drawn.
      drawn: whether that is a terminal.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.drawn = self.stream.isatty()

    def show(self, text: str) -> None:
        """Puts a text in the place of the one before, cut where the terminal ends: a wrapped line stays for ever."""
        self._write(text[: self.columns() - 1])

    def clear(self) -> None:
        """Makes room for a line that is to stay."""
        self._write("")

    def columns(self) -> int:
        """How wide the terminal is at the moment."""
        try:
            columns = os.get_terminal_size(self.stream.fileno()).columns
        except OSError:
            columns = 0
        # Not known: as the environment has it, or as the standard output does.
        return columns or shutil.get_terminal_size().columns

    def _write(self, text: str) -> None:
        if self.drawn:
            self.stream.write(f"{_CLEAR}{text}")
            self.stream.flush()


# Of a list that may be long, as many as a person reads.
SHOWN = 3


def log(text: str) -> None:
    """Prints a line to standard error, at once."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Has no logger say anything below an error, in any thread."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def first_few(items: Sequence[str], separator: str = ", ", *, shown: int = SHOWN) -> str:
    """The first few items, and how many more there are."""
    more = len(items) - shown
    return separator.join(items[:shown]) + (f"{separator}and {more} more" if more > 0 else "")
