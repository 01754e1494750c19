"""End a command on SIGINT (Ctrl-C) and SIGTERM: clean up what is half done, print one line, and exit.

No exception is raised: Python swallows one raised in a finalizer or a hook, and so do libraries while they are
imported. Nor is the interpreter finalised, during which C++ threads may abort the process.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

# Shells and make take these for the signal itself.
INTERRUPTED_STATUS = 128 + signal.SIGINT
TERMINATED_STATUS = 128 + signal.SIGTERM
_ENDS = {signal.SIGINT: ("interrupted", INTERRUPTED_STATUS), signal.SIGTERM: ("terminated", TERMINATED_STATUS)}
# For flushing standard output, whose reader may have stopped reading.
_FLUSH_LIMIT_S = 1.0
_CLEAR_LINE = b"\r\x1b[K"

_Handler = Callable[[int, FrameType | None], object]
# Handlers that were set here.
_our_handlers: set[_Handler] = set()
_actions: dict[object, Callable[[], object]] = {}
_is_ending = False
# A forked process must not clean up after its parent.
os.register_at_fork(after_in_child=_actions.clear)


def install() -> None:
    """Let the signals end this process from now on; call it before anything slow.

    A signal that is ignored (by nohup, or in the background of a shell), or that has another handler, is left alone.
    Outside of the main thread, which alone may set handlers, nothing changes.
    """
    _take(_end)


@contextlib.contextmanager
def signal_handler(handler: _Handler) -> Iterator[None]:
    """Set another handler within the block, except for signals that are ignored or have a foreign handler."""
    earlier = _take(handler)
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)
        _our_handlers.discard(handler)


def _take(handler: _Handler) -> dict[signal.Signals, _Handler | int | None]:
    """Set the handler of each signal that has no foreign one, and return the handlers replaced."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    usual = (signal.SIG_DFL, signal.default_int_handler, *_our_handlers)
    earlier = {number: before for number in _ENDS if (before := signal.getsignal(number)) in usual}
    _our_handlers.add(handler)
    for number in earlier:
        signal.signal(number, handler)
    return earlier


@contextlib.contextmanager
def wait_for_signal(words: str = "") -> Iterator[None]:
    """Within the block, let a signal end the process with status 0, after printing `words` to standard output."""
    with signal_handler(lambda number, frame: end(words, 0, descriptor=1)):
        yield


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Defer a signal to the end of the block, for steps that can only be undone together."""
    received: list[int] = []
    with signal_handler(lambda number, frame: received.append(number)):
        yield
    if received:
        signal.raise_signal(received[0])


@contextlib.contextmanager
def cleanup_on_signal(action: Callable[[], object]) -> Iterator[None]:
    """Call `action` if a signal ends the process within the block, before the actions of blocks around it.

    It runs in the main thread, interrupting whatever that does, so it must not wait for a lock. Its errors are ignored.
    """
    key = object()
    _actions[key] = action
    if _is_ending and threading.current_thread() is not threading.main_thread():
        # The process is ending: what is begun now would not be cleaned up.
        threading.Event().wait()
    try:
        yield
    finally:
        _actions.pop(key, None)


def _end(number: int, frame: FrameType | None) -> None:
    end(*_ENDS[signal.Signals(number)])


def end(words: str, status: int, *, descriptor: int = 2) -> NoReturn:
    """Clean up and end the process, from a handler in the main thread; a second signal ends it at once.

    Args:
      words: the last line to print, if any.
      status: the process's exit status.
      descriptor: the file descriptor to print to.
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
    """Write a line, over a progress line on a terminal; unlike print, it may interrupt a print."""
    clear = _CLEAR_LINE if os.isatty(descriptor) else b""
    with contextlib.suppress(OSError):
        os.write(descriptor, clear + f"{line}\n".encode(errors="backslashreplace"))


def _flush_stdout() -> None:
    """Flush standard output, unless its reader has stopped reading or another thread is writing."""

    def flush() -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()

    # In a thread, as flushing may block for ever.
    thread = threading.Thread(target=flush, daemon=True)
    with contextlib.suppress(RuntimeError):
        thread.start()
        thread.join(_FLUSH_LIMIT_S)
