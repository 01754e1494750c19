"""Keeps the lines that TensorFlow's C++ side prints while it is imported, before it can be configured, out of sight.

`TF_CPP_MIN_LOG_LEVEL` does not reach them: they are logged by static initialisers. Dropped are lines of severity INFO
and the notice that goes with them; everything else that the process writes comes through, in order, as it is written.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

# A process of its own: what was written is shown even if this one aborts. It reads to the end of the pipe, so that
# whoever else has got hold of the pipe, a process begun in the meantime say, is heard too. The level in a line is
# followed by the date, which is 0000 until logging is configured.
_FILTER = """
import signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
for line in sys.stdin.buffer:
    if not line.startswith((b"I0000 ", b"WARNING: All log messages before absl::InitializeLog()")):
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
"""
# For the filter to write what it has got; longer only if something else holds the pipe.
_FLUSH_LIMIT_S = 1.0


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Drops the lines within the block; to be entered by one thread at a time.

    A person who has set TF_CPP_MIN_LOG_LEVEL to 0 sees them. So does everybody where no filter can be started.
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
            # Ctrl-C is for the command, whose last words are still to be shown.
            start_new_session=True,
        )
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    stack.callback(_wait, process)
    stack.callback(os.close, writer)
    stack.callback(_put_back, terminal, writer)
    _flush()
    os.dup2(writer, 2)


def _put_back(terminal: int, writer: int) -> None:
    _flush()
    # What another thread has redirected to elsewhere in the meantime stays there.
    with contextlib.suppress(OSError):
        if os.path.sameopenfile(2, writer):
            os.dup2(terminal, 2)


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()


def _wait(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_FLUSH_LIMIT_S)
