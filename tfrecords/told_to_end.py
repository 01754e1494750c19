"""How a command that serves until it is told to end hears of that."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class ToldToEnd(BaseException):
    """SIGTERM or Ctrl-C."""


@contextlib.contextmanager
def heeding_signals() -> Iterator[None]:
    """SIGTERM and SIGINT raise ToldToEnd within the block, once: a second one must not disturb the ending."""

    def end(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise ToldToEnd

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
