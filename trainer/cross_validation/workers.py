"""Tasks for processes that each set themselves up once and then do many."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from tfrecords import shutdown
from tfrecords.command_line import UserError

# To remove what is half written; the rest of a task may be left at any moment.
_END_LIMIT_S = 5.0

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


class WorkerEndedError(RuntimeError):
    """A worker is gone in the middle of a task, by a signal or a crash.

    Attributes:
      task: the one it was at.
      status: its exit status; negative: the signal that ended it.
    """

    def __init__(self, task: object, status: int | None) -> None:
        super().__init__(f"a worker ended with status {status}")
        self.task = task
        self.status = status


class Workers(Generic[Task, Outcome]):
    """Fresh processes (spawned, so that none inherits a started TensorFlow) that end with this one, however it ends."""

    def __init__(self, count: int, prepare: Callable[[], None], function: Callable[[Task], Outcome]) -> None:
        """Starts them.

        Args:
          count: of processes.
          prepare: each process calls it once, first.
          function: does a task in a process; picklable, as are prepare, tasks and outcomes.
        """
        context = multiprocessing.get_context("spawn")
        self._processes: dict[Connection, BaseProcess] = {}
        self._stack = contextlib.ExitStack()
        # It would be started with the first worker, and let Ctrl-C through again.
        resource_tracker.ensure_running()
        # A worker that has no more than begun would complain of its parent's end.
        with shutdown.put_off():
            # Ctrl-C reaches all processes of a terminal; the parent ends its workers. They inherit this from their
            # start. Ignored, it would be lost here.
            earlier = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                for _ in range(count):
                    own, others = context.Pipe()
                    process = context.Process(target=_serve, args=(others, prepare, function), daemon=True)
                    process.start()
                    # Only the worker's own copy stays open, so that its end is seen here.
                    others.close()
                    self._processes[own] = process
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
            self._stack.enter_context(shutdown.if_ended(self._end))

    def __enter__(self) -> "Workers[Task, Outcome]":
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()
        self._stack.close()
        for connection in self._processes:
            connection.close()

    def _end(self) -> None:
        deadline = time.monotonic() + _END_LIMIT_S
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()

    def do(
        self, tasks: Sequence[Task], *, ready: Callable[[Task], bool] = lambda task: True
    ) -> Iterator[tuple[Task, Outcome]]:
        """Does all tasks and yields each with its outcome, in the order in which they end.

        Args:
          tasks: begun in this order, but for those that have to wait.
          ready: whether a task may begin; asked again whenever another one has ended.

        Raises:
          UserError: the function raised it.
          WorkerEndedError: a worker is gone.
        """
        pending, idle = list(tasks), list(self._processes)
        busy: dict[Connection, Task] = {}
        while pending or busy:
            while idle and (task := next(filter(ready, pending), None)) is not None:
                pending.remove(task)
                busy[idle[-1]] = task
                _send(idle.pop(), task)
            if not busy:
                raise ValueError(f"no task of {len(pending)} may ever begin")
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)  # noqa: S101 - as all that were given
                task = busy.pop(connection)
                yield task, self._outcome(connection, task)
                idle.append(connection)

    def _outcome(self, connection: Connection, task: Task) -> Outcome:
        try:
            outcome = connection.recv()
        except (EOFError, ConnectionError):
            process = self._processes[connection]
            process.join()
            raise WorkerEndedError(task, process.exitcode) from None
        if isinstance(outcome, UserError):
            raise outcome
        return outcome


def _send(connection: Connection, task: object) -> None:
    # A worker that is gone is found when its outcome is waited for.
    try:
        connection.send(task)
    except ConnectionError:
        return


def _serve(connection: Connection, prepare: Callable[[], None], function: Callable[[Task], Outcome]) -> None:
    """A worker's life: one task after another, until it is told to end or its parent is gone."""
    # The parent says what there is to say.
    signal.signal(signal.SIGTERM, lambda number, frame: shutdown.end("", shutdown.TERMINATED_STATUS))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare()
    while True:
        task = connection.recv()
        try:
            outcome: Outcome | UserError = function(task)
        except UserError as error:
            outcome = error
        connection.send(outcome)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    # At once: a training under way has nothing to tidy up.
    os._exit(1)
