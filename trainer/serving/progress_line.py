"""How far a command has come with a long list of files, on a terminal."""

import sys
import time
from typing import TextIO

# A shorter list is through before anyone asks.
_LONG = 10
_CLEAR = "\r\x1b[K"


class ProgressLine:
    """One line at the bottom of a terminal; nothing for short lists, and nothing in a log.

    Args:
      total: files.
      stream: by default standard error.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = total > _LONG and self._stream.isatty()
        self._total = total
        self._files, self._audio_s = 0, 0.0
        self._began = time.monotonic()

    def clear(self) -> None:
        """Makes room for a line that is to stay."""
        self._write(_CLEAR)

    def add(self, audio_s: float) -> None:
        """One more file is done, with so much audio."""
        self._files += 1
        self._audio_s += audio_s
        speed = self._audio_s / max(1e-3, time.monotonic() - self._began)
        self._write(f"{_CLEAR}{self._files} of {self._total} files, {speed:,.0f} times real time")

    def _write(self, text: str) -> None:
        if self._shown:
            self._stream.write(text)
            self._stream.flush()
