"""Commands as processes of their own: how long they take, how much memory, and an end to all they started.

Linux only: memory is read from /proc.
"""

import contextlib
import dataclasses
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from tfrecords.common import shutdown

MIB = 1 << 20
_SAMPLE_EVERY_S = 0.05
_POLL_S = 0.002
_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
# Of /proc/<pid>/stat, counted after the command's name, which may hold blanks.
_SESSION_FIELD = 3
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(frozen=True)
class Finished:
    """What became of a command.

    Attributes:
      status: its exit status; negative: the signal that ended it.
      seconds: from start to exit.
      processor_s: of processor time that it and all that it waited for took, in user and kernel mode.
      timed_out: whether it was ended because its time was up.
      peak_bytes: most memory at once, over all its processes; 0 if it was not watched.
      stdout: what it printed.
      stderr: the same.
    """

    status: int
    seconds: float
    processor_s: float
    timed_out: bool
    peak_bytes: int
    stdout: str
    stderr: str


def start(
    *command: str,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Starts `python COMMAND` at the head of a session of its own, so that all it starts can be found and ended."""
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        errors="backslashreplace",
        env=env,
        start_new_session=True,
    )


@contextlib.contextmanager
def started(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """As `start`; at the end of the block, also where a signal ends this process, all of it is ended."""
    with contextlib.ExitStack() as stack:
        with shutdown.defer_signals():
            process = start(*command, **options)
            # Without a wait, for whose lock this process may be waiting already.
            stack.enter_context(shutdown.cleanup_on_signal(lambda: _kill_group(process)))
        stack.callback(kill, process)
        yield process


def kill(process: subprocess.Popen[str]) -> None:
    """Ends a process from `start` and all of its group at once, without a warning, and waits until it is gone."""
    # One that was waited for is gone, and its number may be another's by now.
    if process.returncode is None:
        _kill_group(process)
        process.wait()


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_until(process: subprocess.Popen[str], condition: Callable[[], bool], *, limit_s: float) -> None:
    """Until a condition holds, the process has ended, or the time is up; whoever waits sees it within milliseconds."""
    deadline = time.monotonic() + limit_s
    while process.poll() is None and time.monotonic() < deadline and not condition():
        time.sleep(_POLL_S)


def run(
    *command: str,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    watch_memory: bool = False,
    address_space_bytes: int | None = None,
) -> Finished:
    """Runs `python COMMAND` to its end. An exception ends it with all that it started, as do SIGTERM and SIGHUP.

    So do the signals that `tfrecords.common.shutdown` handles.

    Args:
      command: the interpreter's arguments.
      env: its environment; by default this process's.
      timeout_s: after this long it is ended, with all that it started.
      watch_memory: sample its memory; this takes some percent of a core, so not where time is measured.
      address_space_bytes: what each of its processes may reserve; more fails as memory that is not there.
    """
    began, processor_began_s = time.perf_counter(), _processor_s()
    timed_out = False
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ended_by_exceptions())
        process = stack.enter_context(started(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env))
        if address_space_bytes is not None:
            resource.prlimit(process.pid, resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
        peak = stack.enter_context(PeakMemory(process.pid)) if watch_memory else None
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            kill(process)
            stdout, stderr = process.communicate()
    seconds = time.perf_counter() - began
    return Finished(
        status=process.returncode,
        seconds=seconds,
        processor_s=_processor_s() - processor_began_s,
        timed_out=timed_out,
        peak_bytes=peak.bytes if peak else 0,
        stdout=stdout,
        stderr=stderr,
    )


def _processor_s() -> float:
    """What all processes that this one has waited for have used, and those that they have waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def _ended_by_exceptions() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit within the block, where they would leave other sessions' processes behind.

    Signals that something else handles, or that are ignored (nohup), stay as they are; so do all in other threads than
    the main one, which alone may set handlers.
    """

    def end(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in _ENDING_SIGNALS if main and signal.getsignal(number) == signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, end)
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def run_checked(*command: str, env: Mapping[str, str] | None = None, watch_memory: bool = False) -> Finished:
    """As `run`, for a command that has to succeed.

    Raises:
      subprocess.CalledProcessError: it did not; what it said is shown first.
    """
    finished = run(*command, env=env, watch_memory=watch_memory)
    if finished.status:
        print(finished.stderr, file=sys.stderr)
        raise subprocess.CalledProcessError(finished.status, command)
    return finished


class PeakMemory:
    """Samples the memory of a session's processes, in a thread, while the block runs.

    Memory is the proportional set size: a page that several processes share counts once in their sum.

    Attributes:
      bytes: the highest sum so far.
    """

    def __init__(self, session: int) -> None:
        self.bytes = 0
        self._session = session
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_EVERY_S):
            self.bytes = max(self.bytes, sum(_pss_bytes(folder) for folder in session_processes(self._session)))


def session_processes(session: int) -> Iterator[Path]:
    """The /proc folders of a session's processes, those whose parent has gone included."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            # A process may end between any two of these lines.
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
                if int(fields[_SESSION_FIELD]) == session:
                    yield folder


def _pss_bytes(folder: Path) -> int:
    try:
        found = _PSS.search((folder / "smaps_rollup").read_bytes())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
