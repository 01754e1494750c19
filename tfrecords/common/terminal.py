"""What a command prints while it works: a line that is drawn over, lines of a log, tables, short lists."""

import contextlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

# Items of a list that may be long, as many as a person reads.
SHOWN = 3
_CLEAR = "\r\x1b[K"
# A value may hold backticks, as paths do, but not at the end of a word.
_FIELD = re.compile(r"(?<!\w)`([a-z]\w*)((?:=.*?)?)`(?!\w)", re.DOTALL)
# Of the command that runs; none where the packages are used from Python.
_flags: frozenset[str] = frozenset()


class TerminalLine:
    """A progress line at the bottom of a terminal, drawn over itself; nothing is drawn where the stream is a log.

    Args:
      stream: where to draw it; standard error by default.

    Attributes:
      stream: where it is drawn.
      drawn: whether the stream is a terminal.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.drawn = self.stream.isatty()

    def show(self, text: str) -> None:
        """Replace the line by a text, cut to the terminal's width: a line that wraps could not be drawn over."""
        self._write(text[: self.columns() - 1])

    def clear(self) -> None:
        """Remove the line, so that a lasting one can be printed."""
        self._write("")

    def columns(self) -> int:
        """Return the terminal's width in characters, as it is now."""
        try:
            columns = os.get_terminal_size(self.stream.fileno()).columns
        except OSError:
            columns = 0
        # Where it is not known: COLUMNS in the environment, or the width of standard output.
        return columns or shutil.get_terminal_size().columns

    def _write(self, text: str) -> None:
        if self.drawn:
            self.stream.write(f"{_CLEAR}{text}")
            self.stream.flush()


@contextlib.contextmanager
def naming_flags(names: Iterable[str]) -> Iterator[None]:
    """Within the block, in every thread, `name_flags` knows a command's flags."""
    global _flags
    before, _flags = _flags, frozenset(names)
    try:
        yield
    finally:
        _flags = before


def name_flags(text: str) -> str:
    """Return a message with its fields as the command line spells them, if it is a command that runs.

    Library code names a field as Python does, in backticks: `field`, or `field=value`. What is no flag of the command
    stays as it is.

    Example:
      >>> with naming_flags(["epochs", "precision"]):
      ...     name_flags("`epochs` must be at least 1, got 0; take `precision=float32`, or more `folds`")
      '--epochs must be at least 1, got 0; take --precision=float32, or more `folds`'
    """
    return _FIELD.sub(lambda match: f"--{match[1]}{match[2]}" if match[1] in _flags else match[0], text)


def log(text: str) -> None:
    """Print a line to standard error, unbuffered; fields in backticks become flags (see `name_flags`)."""
    print(name_flags(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Silence all loggers below ERROR within the block, in every thread."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def first_few(items: Sequence[str], separator: str = ", ", *, shown: int = SHOWN) -> str:
    """Join the first few items and say how many more there are.

    Example:
      >>> first_few(["blues", "jazz", "pop", "rock", "soul"])
      'blues, jazz, pop, and 2 more'
    """
    more = len(items) - shown
    return separator.join(items[:shown]) + (f"{separator}and {more} more" if more > 0 else "")


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of equally many cells as lines of text: the first column flush left, the others flush right.

    Example:
      >>> print(align_columns([["part", "tracks"], ["fold_0", "12"]]))
      part    tracks
      fold_0      12
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def printable(text: str) -> str:
    r"""Return a text with its unprintable characters escaped, as \x00 or \udc80.

    File names and tags may hold anything: a lone surrogate cannot be encoded, a control character breaks a line.

    Example:
      >>> printable("a\nb")
      'a\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def encodable(text: str) -> str:
    r"""Return a text that UTF-8 can hold: names of files need not be Unicode, and their odd bytes become escapes.

    Example:
      >>> encodable("caf\udce9")
      'caf\\udce9'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shorten(text: str, characters: int) -> str:
    """Return a printable text of at most so many characters; a longer one keeps both ends, as both tell paths apart.

    Example:
      >>> shorten("blues/a long file name.wav", 12)
      'blues…me.wav'
    """
    text = printable(text)
    if len(text) <= characters:
        return text
    tail = characters // 2
    return f"{text[: characters - tail - 1]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - tail :]}"
