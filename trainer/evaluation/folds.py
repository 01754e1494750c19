"""One training of a cross-validation, from wherever it was left to the predictions of its test fold."""

import contextlib
import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from trainer import train, training_job
from trainer.distribution.choice import NONE
from trainer.evaluation.confidence import load_confidence
from trainer.evaluation.cross_validation import Run
from trainer.evaluation.saved_predictions import PREDICTIONS_FILE, FoldPredictions
from trainer.training import init_filters, schedules
from trainer.training.resume import is_finished, unfinished
from trainer.training.run_options import RunOptions
from trainer.training_job import TrainingJob

LOG_FILE = "log.txt"


class CoreSeconds:
    """Measures what a training costs: the processor time of its process, all threads together (user and system).

    It counts from its creation on, in a process that trains one model at a time. There is no figure where a part is not
    known, or where something else than the processor computes.
    """

    def __init__(self) -> None:
        self._began = time.process_time()

    def taken(self, *, went_on: bool, parents: Iterable[Path]) -> float | None:
        """The core seconds from nothing to the model that has just been trained.

        Args:
          went_on: whether the training had been interrupted; the time until then is not known.
          parents: job directories of the runs that its filters come from, whose trainings are part of its own.

        Returns:
          Core seconds; None where a part of them was not measured, or a GPU computes.
        """
        total = time.process_time() - self._began
        if went_on or not _on_cpu():
            return None
        for job_dir in parents:
            of_parent = FoldPredictions.load(job_dir / PREDICTIONS_FILE).core_seconds
            if of_parent is None:
                return None
            total += of_parent
        return total


def _on_cpu() -> bool:
    import keras
    import tensorflow as tf

    return keras.backend.backend() == "tensorflow" and not tf.config.list_physical_devices("GPU")


@dataclasses.dataclass(frozen=True)
class FoldRun:
    """A run and all that it needs; it travels to a worker.

    Attributes:
      run: its place in the cross-validation.
      job: what to train, but for its parents.
      job_dir: where.
      save_every_s: as trainer.training.run_options.RunOptions has it.
      parents: directories of the runs of `time` and `frequency` that the job's filters come from; None: it has no
        parents, or trains them itself.
    """

    run: Run
    job: TrainingJob
    job_dir: Path
    save_every_s: float
    parents: tuple[Path, Path] | None = None

    @property
    def is_done(self) -> bool:
        """Whether its predictions are there, and the model that made them."""
        return _is_predicted(self.job_dir)

    @property
    def may_begin(self) -> bool:
        """Whether its parents are done."""
        return self.parents is None or all(map(_is_predicted, self.parents))

    def whole_job(self) -> TrainingJob:
        """The job with its parents, as they are now.

        Raises:
          UserError: a parent is not trained.
        """
        if self.parents is None:
            return self.job
        return dataclasses.replace(self.job, init_from=init_filters.parents_of(*self.parents))

    def check_directory(self) -> None:
        """Raises UserError when the directory holds another job."""
        if not (self.job_dir / training_job.CONFIG_FILE).exists():
            return
        held = TrainingJob.load(self.job_dir)
        # Parents that are yet to be trained have no weights to compare; `carry_out` does so when they are.
        expected = self.whole_job() if self.may_begin else dataclasses.replace(self.job, init_from=held.init_from)
        if self.parents is not None and (held.init_from is None or held.init_from != expected.init_from):
            of_itself = held.init_from is None
            raise UserError(
                f"{self.job_dir} has filters of {'its own' if of_itself else 'other'} time and frequency models than "
                "those that are asked for with it; to train it from these, delete "
                f"{self.job_dir.parents[1] if of_itself else self.job_dir}; or choose another `job_dir`"
            )
        if differences := held.differences(expected):
            raise UserError(
                f"{self.job_dir} holds a job that differs: {'; '.join(differences)}; "
                "go on with its settings, choose another `job_dir`, or `overwrite` it"
            )


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """What is told of a run that was just done.

    Attributes:
      accuracy: share of the test fold's tracks that were recognised, by mean probability.
      tracks: of the test fold.
      epochs: that were trained.
      best_epoch: from 1; None: the last one is kept.
      seconds: that it took, or the rest of it.
    """

    accuracy: float
    tracks: int
    epochs: int
    best_epoch: int | None
    seconds: float


def prepare(threads: int) -> None:
    """Sets a worker's TensorFlow up, for so many threads."""
    command_line.import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        # Several workers share it: none may take all its memory.
        tf.config.experimental.set_memory_growth(gpu, True)


def carry_out(fold_run: FoldRun) -> FoldResult:
    """Trains, or goes on training, then predicts the test fold; what is printed goes to the log in the directory.

    Raises:
      UserError: it cannot be done, and why; for unexpected errors the traceback is in the log.
    """
    run, log = fold_run.run, fold_run.job_dir / LOG_FILE
    with contextlib.ExitStack() as stack:
        try:
            fold_run.job_dir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_printing_to(log))
            stack.enter_context(training_job.lock_job_dir(fold_run.job_dir))
        except OSError as error:
            raise UserError(f"{run}: {fold_run.job_dir} cannot be written: {error.strerror}") from None
        except UserError as error:
            raise UserError(f"{run}: {error}") from None
        try:
            return _carry_out(fold_run)
        except UserError as error:
            traceback.print_exc()
            raise UserError(f"{run}: {error}") from None
        except Exception as error:
            traceback.print_exc()
            words = (str(error).splitlines() or [""])[0]
            raise UserError(f"{run} failed: {type(error).__name__}: {words}; see {log}") from error


def _carry_out(fold_run: FoldRun) -> FoldResult:
    import keras

    from trainer.evaluation.metrics import summarize
    from trainer.evaluation.predictions import load_model, predict

    began = time.monotonic()
    job, job_dir = fold_run.whole_job(), fold_run.job_dir
    init_filters.check_parents(job)
    # A process does many runs: what Keras holds of one is no use to the next.
    keras.utils.clear_session(free_memory=True)
    cost = None if is_finished(job, job_dir) else _train(fold_run, job)
    model = load_model(job_dir)
    history = schedules.rows_of(training_job.read_history(job_dir))
    done = FoldPredictions(
        predictions=predict(job, model, job.data_dir, job.parts.test, familiarity=load_confidence(job_dir)[1]),
        parameters=model.count_params(),
        epochs=len(history),
        best_epoch=job.rules.best_epoch(history),
        core_seconds=cost,
    )
    done.save(job_dir / PREDICTIONS_FILE)
    scores = summarize(done.predictions)
    return FoldResult(
        accuracy=scores.track_accuracy_mean,
        tracks=scores.tracks,
        epochs=done.epochs,
        best_epoch=done.best_epoch if job.rules.checkpoint_metric else None,
        seconds=time.monotonic() - began,
    )


def _train(fold_run: FoldRun, job: TrainingJob) -> float | None:
    """Trains, or goes on; returns the core seconds that the training took, where they are known."""
    start, cost = unfinished(job, fold_run.job_dir), CoreSeconds()
    options = RunOptions(distribution=NONE, save_every_s=fold_run.save_every_s)
    train.train(job, fold_run.job_dir, start=start, options=options)
    return cost.taken(went_on=start is not None, parents=fold_run.parents or ())


def _is_predicted(job_dir: Path) -> bool:
    return all((job_dir / name).exists() for name in (PREDICTIONS_FILE, training_job.CHECKPOINT_FILE))


@contextlib.contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """Sends all that the process prints, its C++ side included, to the end of a file."""
    terminal = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    try:
        with log.open("ab") as file:
            for descriptor in terminal:
                os.dup2(file.fileno(), descriptor)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, own in terminal.items():
            os.dup2(own, descriptor)
            os.close(own)
