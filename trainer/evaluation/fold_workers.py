"""All trainings of a cross-validation, several at a time in processes of their own, with a line for each that ends."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from tfrecords.common import command_line, shutdown
from tfrecords.common.command_line import UserError
from trainer import models
from trainer.evaluation import folds
from trainer.evaluation.cross_validation import Run
from trainer.evaluation.folds import FoldResult, FoldRun

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
        with shutdown.defer_signals():
            # Ctrl-C reaches every process of the terminal, but the parent ends its workers. They inherit the blocked
            # signal; if it were ignored instead, the parent would lose it.
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
            self._stack.enter_context(shutdown.cleanup_on_signal(self._end))

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


class Progress:
    """Counts what ends, and estimates how long the rest will take."""

    def __init__(self, left: Iterable[Run], *, total: int, processes: int) -> None:
        """Begins before the first of the runs that are left of `total`, `processes` at a time."""
        self._left = set(left)
        self._total = total
        self._processes = processes
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def line(self, run: Run, done: FoldResult) -> str:
        """What to print when a run has ended."""
        self._left.remove(run)
        self._seconds[run.model].append(done.seconds)
        rest = f"; about {duration(self._rest_s())} left" if self._left else ""
        kept = "last kept" if done.best_epoch is None else f"best {done.best_epoch}"
        epochs = f"{done.epochs} epoch{'s' if done.epochs > 1 else ''} ({kept})"
        return (
            f"{self._total - len(self._left)} of {self._total}: {run}: {100 * done.accuracy:.1f} % of {done.tracks} "
            f"tracks, {epochs}, {duration(done.seconds)}{rest}"
        )

    def _rest_s(self) -> float:
        """As long as the runs of the same model took, or of all models where none of it has ended."""
        every = [seconds for own in self._seconds.values() for seconds in own]
        likely = [self._seconds.get(run.model, every) for run in self._left]
        return sum(sum(seconds) / len(seconds) for seconds in likely) / self._processes


def duration(seconds: float) -> str:
    """A time in the unit that suits it: "42 s", "18 min", "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def check_models(fold_runs: Iterable[FoldRun], *, mel_bands: int) -> None:
    """Raises UserError when a model has no such options, or its filters do not fit: now, not when its turn comes."""
    # All seeds and folds of one have the same.
    jobs = {each.run.model: each.job for each in fold_runs}
    if not jobs:
        return
    command_line.import_tensorflow()
    import tensorflow as tf

    # The memory of a GPU is for the workers; a process that has begun to use one keeps it.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
    for job in jobs.values():
        shape = (job.patch_frames, mel_bands, 1)
        models.create(job.model, num_classes=len(job.labels), input_shape=shape, **job.model_options)


def carry_out(fold_runs: Sequence[FoldRun], *, processes: int, threads: int) -> None:
    """Does the runs that are not done yet, and prints a line for each.

    Args:
      fold_runs: all, each after its parents.
      processes: at most so many at a time.
      threads: per process. They must not depend on how many runs are left: with another number, sums are taken in
        another order, and a resumed run would differ from an unbroken one.

    Raises:
      UserError: a run cannot be done, or its process ended, and why.
    """
    left = [each for each in fold_runs if not each.is_done]
    if not left:
        print(f"all {len(fold_runs)} trainings are done", flush=True)
        return
    count = min(processes, len(left))
    progress = Progress((each.run for each in left), total=len(fold_runs), processes=count)
    print(
        f"{len(left)} of {len(fold_runs)} trainings to do, {count} at a time, threads for each: {threads}", flush=True
    )
    with Workers[FoldRun, FoldResult](count, partial(folds.prepare, threads), folds.carry_out) as workers:
        try:
            for each, done in workers.do(left, ready=lambda each: each.may_begin):
                print(progress.line(each.run, done), flush=True)
        except WorkerEndedError as error:
            assert isinstance(error.task, FoldRun)  # noqa: S101 - all tasks are
            raise UserError(
                f"{error.task.run}: its process ended with status {error.status} (-9: killed, perhaps for want of "
                f"memory; fewer `processes` need less); see {error.task.job_dir / folds.LOG_FILE}"
            ) from None
