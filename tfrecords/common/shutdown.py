"""How SIGINT (Ctrl-C) and SIGTERM end a command: it removes what it has half done, says so, and is gone.

No exception is raised, as Python swallows one that comes up in a finalizer or a hook, and libraries do so while they
are imported. And the interpreter is not taken down, in which threads of C++ may abort the process.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

# What shells, make and their loops take for the signal itself.
INTERRUPTED_STATUS = 128 + signal.SIGINT
TERMINATED_STATUS = 128 + signal.SIGTERM
_ENDS = {signal.SIGINT: ("interrupted", INTERRUPTED_STATUS), signal.SIGTERM: ("terminated", TERMINATED_STATUS)}
# For what is left of standard output, whose reader may have stopped to read.
_FLUSH_LIMIT_S = 1.0
_CLEAR_LINE = b"\r\x1b[K"

_Handler = Callable[[int, FrameType | None], object]
# Handlers that were set here.
_own: set[_Handler] = set()
_actions: dict[object, Callable[[], object]] = {}
_is_ending = False
# A forked process has begun nothing of that.
os.register_at_fork(after_in_child=_actions.clear)


def install() -> None:
    """Has the signals end this process from now on; to be called before anything slow.

    A signal that is ignored (by nohup, or in the background of a shell) or that something else handles stays so. In
    another thread than the main one, which alone may set handlers, nothing is changed.
    """
    _take(_end)


@contextlib.contextmanager
def signal_handler(handler: _Handler) -> Iterator[None]:
    """Has another handler take the signals within the block, unless they are ignored or something else handles them."""
    earlier = _take(handler)
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)
        _own.discard(handler)


def _take(handler: _Handler) -> dict[signal.Signals, _Handler | int | None]:
    """Sets the handler of each signal that nobody else has taken; gives those that they had."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    usual = (signal.SIG_DFL, signal.default_int_handler, *_own)
    earlier = {number: before for number in _ENDS if (before := signal.getsignal(number)) in usual}
    _own.add(handler)
    for number in earlier:
        signal.signal(number, handler)
    return earlier


@contextlib.contextmanager
def wait_for_signal(words: str = "") -> Iterator[None]:
    """Makes the signals the way to end well within the block: with words on standard output and status 0."""
    with signal_handler(lambda number, frame: end(words, 0, descriptor=1)):
        yield


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Has a signal wait for the end of the block: for steps that only together can be undone."""
    came: list[int] = []
    with signal_handler(lambda number, frame: came.append(number)):
        yield
    if came:
        signal.raise_signal(came[0])


@contextlib.contextmanager
def cleanup_on_signal(action: Callable[[], object]) -> Iterator[None]:
    """Has `action` called if a signal ends the process within the block, before those of blocks around it.

    It runs in the main thread, in the midst of whatever that does, so it must wait for no lock. Its errors are ignored.
    """
    key = object()
    _actions[key] = action
    if _is_ending and threading.current_thread() is not threading.main_thread():
        # What is begun now would be left behind.
        threading.Event().wait()
    try:
        yield
    finally:
        _actions.pop(key, None)


def _end(number: int, frame: FrameType | None) -> None:
    end(*_ENDS[signal.Signals(number)])


def end(words: str, status: int, *, descriptor: int = 2) -> NoReturn:
    """Cleans up and ends the process, in the main thread, from a handler; another signal meanwhile ends it at once.

    Args:
      words: the last line, if any.
      status: of the process.
      descriptor: of the file that the line goes to.
    """
    global _is_ending
    _is_ending = True
    for number in _ENDS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    for action in reversed(list(_actions.values())):
        with contextlib.suppress(BaseException):
            action()
    if words:
        print_line(words, descriptor)
    _flush_stdout()
    os._exit(status)


def print_line(line: str, descriptor: int = 2) -> None:
    """Writes a line, on a terminal in the place of a progress line; unlike print, also from within a print."""
    clear = _CLEAR_LINE if os.isatty(descriptor) else b""
    with contextlib.suppress(OSError):
        os.write(descriptor, clear + f"{line}\n".encode(errors="backslashreplace"))


def _flush_stdout() -> None:
    """Writes what is left of standard output, if its reader reads, and no thread is in the midst of writing."""

    def flush() -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()

    # In a thread of its own: this one may be waited for no longer than it takes.
    thread = threading.Thread(target=flush, daemon=True)
    with contextlib.suppress(RuntimeError):
        thread.start()
        thread.join(_FLUSH_LIMIT_S)
