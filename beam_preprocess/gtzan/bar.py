"""Progress of a download: bytes there, of how many, and how fast; one line on a terminal, a few in a log."""

import time
from typing import Self, TextIO

from tfrecords.terminal_line import TerminalLine

_MB = 1e6
_TERMINAL_EVERY_S, _LOG_EVERY_S = 0.2, 10.0
_WIDTH = 30


class Bar:
    """Shows how far a download is while the block runs.

    Args:
      name: of what is downloaded.
      begin: bytes that were there before.
      total: bytes in all, or None where nobody knows.
      stream: standard error by default.
    """

    def __init__(self, name: str, begin: int, total: int | None, stream: TextIO | None = None) -> None:
        self._name, self._begin, self._total = name, begin, total
        self._terminal = TerminalLine(stream)
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._terminal.clear()

    def show(self, there: int) -> None:
        """Shows that so many bytes are there, unless the last time is only just past."""
        now = time.monotonic()
        if now - self._shown < (_TERMINAL_EVERY_S if self._terminal.drawn else _LOG_EVERY_S):
            return
        self._shown = now
        if self._terminal.drawn:
            self._terminal.show(self.line(there, now))
        else:
            print(self.line(there, now), file=self._terminal.stream, flush=True)

    def line(self, there: int, now: float) -> str:
        """What is done so far; `now` as time.monotonic gives it."""
        speed = (there - self._begin) / _MB / max(1e-3, now - self._began)
        if not self._total:
            return f"{self._name}: {there / _MB:,.0f} MB, {speed:.1f} MB/s"
        full = round(_WIDTH * min(1.0, there / self._total))
        left_s = (self._total - there) / _MB / max(1e-3, speed)
        return (
            f"{self._name}: [{'#' * full}{'.' * (_WIDTH - full)}] {there / _MB:,.0f} of {self._total / _MB:,.0f} MB, "
            f"{speed:.1f} MB/s, {left_s:,.0f} s left"
        )
