"""Hide the lines that TensorFlow's C++ side logs while it is imported.

`TF_CPP_MIN_LOG_LEVEL` has no effect on them, as static initialisers log them before logging is configured. Lines of
severity INFO and the notice that comes with them are dropped; everything else passes, in order, as it is written.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

# Runs as a process, so that output is shown even if this one aborts. It reads to the end of the pipe, so it also shows
# what other processes write that inherited the pipe. In a line, the date follows the level; it is 0000 until logging is
# configured.
_FILTER = """
import signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
for line in sys.stdin.buffer:
    if not line.startswith((b"I0000 ", b"WARNING: All log messages before absl::InitializeLog()")):
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
"""
# For the filter to write the rest; it takes longer only if another process holds the pipe.
_FLUSH_LIMIT_S = 1.0


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Drop the lines within the block, which only one thread at a time may enter.

    They are shown if TF_CPP_MIN_LOG_LEVEL is 0 or not set, and where the filter cannot be started.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "") in ("", "0"):
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            _filter_stderr(stack)
        yield


def _filter_stderr(stack: contextlib.ExitStack) -> None:
    terminal = os.dup(2)
    stack.callback(os.close, terminal)
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _FILTER],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            # Ctrl-C must not end the filter: the command's last lines have to be shown.
            start_new_session=True,
        )
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    stack.callback(_wait, process)
    stack.callback(os.close, writer)
    stack.callback(_restore_stderr, terminal, writer)
    _flush()
    os.dup2(writer, 2)


def _restore_stderr(terminal: int, writer: int) -> None:
    _flush()
    # Unless another thread has redirected it in the meantime.
    with contextlib.suppress(OSError):
        if os.path.sameopenfile(2, writer):
            os.dup2(terminal, 2)


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()


def _wait(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_FLUSH_LIMIT_S)
