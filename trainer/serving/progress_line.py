"""How far a command has come with a long list of files, on a terminal."""

import time
from typing import TextIO

from tfrecords.terminal_line import TerminalLine

# A shorter list is through before anyone asks.
_LONG = 10


class ProgressLine:
    """One line at the bottom of a terminal; nothing for short lists, and nothing in a log.

    Args:
      total: files.
      stream: by default standard error.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._line = TerminalLine(stream)
        self._shown = total > _LONG
        self._total = total
        self._files, self._audio_s = 0, 0.0
        self._began = time.monotonic()

    def clear(self) -> None:
        """Makes room for a line that is to stay."""
        if self._shown:
            self._line.clear()

    def add(self, audio_s: float) -> None:
        """One more file is done, with so much audio."""
        self._files += 1
        self._audio_s += audio_s
        speed = self._audio_s / max(1e-3, time.monotonic() - self._began)
        if self._shown:
            self._line.show(f"{self._files} of {self._total} files, {speed:,.0f} times real time")
