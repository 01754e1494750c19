"""Starts, resumes or refuses a training, depending on what its directory holds."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tfrecords.common.command_line import UserError
from trainer import job_store, training_job
from trainer.evaluation.confidence import CONFIDENCE_FILE, FAMILIARITY_FILE
from trainer.evaluation.saved_predictions import PREDICTIONS_FILE
from trainer.training import init_filters, schedules
from trainer.training.training_state import STATE_FILE, TrainingState, values_of
from trainer.training_job import TrainingJob

if TYPE_CHECKING:
    import keras


def is_finished(job: TrainingJob, job_dir: Path) -> bool:
    """Whether the directory holds this very job, trained to its end."""
    if not (job_dir / training_job.CONFIG_FILE).exists() or (job_dir / STATE_FILE).exists():
        return False
    return (job_dir / training_job.CHECKPOINT_FILE).exists() and not TrainingJob.load(job_dir).differences(job)


def describe_finished(job: TrainingJob, job_dir: Path) -> str:
    """Where the model of a finished job is, in a line.

    Raises:
      UserError: its history is damaged.
    """
    history = schedules.rows_of(training_job.read_history(job_dir))
    return (
        f"{job_store.shown(job_dir)} holds this very job, trained to its end: {job.rules.describe_kept(history)} of "
        f"{len(history)}, {job_store.shown(job_dir / training_job.CHECKPOINT_FILE)}"
    )


def tell_unfinished(job: TrainingJob, job_dir: Path) -> None:
    """Says on standard error that a job's model is one of an unfinished training, if it is, and of which epoch.

    Raises:
      UserError: the history is damaged.
    """
    if not all((job_dir / name).exists() for name in (STATE_FILE, training_job.CHECKPOINT_FILE)):
        return
    history = schedules.rows_of(training_job.read_history(job_dir))
    print(
        f"warning: {job_store.shown(job_dir)}: training is not finished; this is the model of the "
        f"{job.rules.describe_kept(history)} of {len(history)} so far, of {job.epochs} at most",
        file=sys.stderr,
        flush=True,
    )


def unfinished(job: TrainingJob, job_dir: Path) -> TrainingState | None:
    """Where the directory's unfinished training of this job stands; None if the directory holds no job.

    Raises:
      UserError: it holds a finished job, one whose model is gone, an unfinished one of another configuration, or a
        damaged state.
    """
    if not (job_dir / training_job.CONFIG_FILE).exists():
        if held := _held_for_parents(job, job_dir):
            raise UserError(f"{held[0]} already holds a job; choose another `job_dir`, or `overwrite` it")
        return None
    differences = TrainingJob.load(job_dir).differences(job)
    if not (job_dir / STATE_FILE).exists():
        if not (job_dir / training_job.CHECKPOINT_FILE).exists():
            raise UserError(
                f"{job_dir} holds a job whose {training_job.CHECKPOINT_FILE} is gone; "
                "delete that directory, and it is trained again"
            )
        of_another = f" that differs: {'; '.join(differences)}" if differences else ""
        raise UserError(f"{job_dir} already holds a job{of_another}; choose another `job_dir`, or `overwrite` it")
    if differences:
        raise UserError(
            f"{job_dir} holds an unfinished job that differs: {'; '.join(differences)}; "
            "go on with its settings, choose another `job_dir`, or `overwrite` it"
        )
    return TrainingState.load(job_dir / STATE_FILE)


def _held_for_parents(job: TrainingJob, job_dir: Path) -> list[Path]:
    """Of the directories in which a job will train its parents, those that hold jobs."""
    if not init_filters.trains_parents(job):
        return []
    own = [job_dir / name for name in init_filters.own_parents(job)]
    return [path for path in own if (path / training_job.CONFIG_FILE).exists()]


def _made_as_parents(job_dir: Path) -> list[Path]:
    """The directories of the parents that the job of a directory has trained itself."""
    try:
        earlier = TrainingJob.load(job_dir)
    except UserError:
        return []
    if not init_filters.trains_parents(earlier):
        return []
    return [job_dir / name for name in init_filters.own_parents(earlier)]


def start_over(job: TrainingJob, job_dir: Path, model: "keras.Model") -> TrainingState:
    """Delete the files of an earlier job, write this one's configuration and initial state, and return the state."""
    # First, because predictions mark a run of a cross-validation as done.
    (job_dir / PREDICTIONS_FILE).unlink(missing_ok=True)
    # Before config.json goes, which says which subdirectories the old job made. Those in init_from are kept.
    for path in (*_made_as_parents(job_dir), *_held_for_parents(job, job_dir)):
        if not init_filters.is_parent(job, path):
            shutil.rmtree(path, ignore_errors=True)
    for name in (
        training_job.CONFIG_FILE,
        training_job.CHECKPOINT_FILE,
        training_job.HISTORY_FILE,
        training_job.METRICS_FILE,
        training_job.REPORT_FILE,
        training_job.RUN_FILE,
        CONFIDENCE_FILE,
        FAMILIARITY_FILE,
    ):
        (job_dir / name).unlink(missing_ok=True)
    shutil.rmtree(job_dir / training_job.LOGS_DIR, ignore_errors=True)
    # A model whose parents are yet to be trained has nothing to begin with.
    start = TrainingState(variables={} if init_filters.trains_parents(job) else values_of(model))
    # The state first: a configuration without one is that of a finished job.
    start.save(job_dir / STATE_FILE)
    job.save(job_dir)
    return start


def sync_with_chief(job: TrainingJob, job_dir: Path, model: "keras.Model") -> TrainingState:
    """Gives the model what another host, the chief, begins with, as it has left it in the directory.

    Raises:
      UserError: the directory is not the chief's, or its job differs.
    """
    if not (job_dir / STATE_FILE).exists():
        raise UserError(
            f"`job_dir={job_dir}` does not show this host what the chief has written; all hosts need the same "
            "directory, on a disk that they share"
        )
    if differences := TrainingJob.load(job_dir).differences(job):
        raise UserError(f"the chief trains another job: {'; '.join(differences)}; give all hosts the same settings")
    start = TrainingState.load(job_dir / STATE_FILE)
    if start.variables:
        start.restore(model, job_dir / STATE_FILE)
    return start


def resume(job: TrainingJob, job_dir: Path, model: "keras.Model", start: TrainingState, *, steps: int) -> None:
    """Gives the model what was saved, and finishes what may have come after that."""
    from trainer.training.callbacks import save_model

    start.restore(model, job_dir / STATE_FILE)
    job.save(job_dir)
    training_job.write_history(job_dir, start.history)
    # The state of an epoch's end is saved before its model is.
    if start.epoch and start.epoch == job.rules.best_epoch(start.history) and not start.step:
        save_model(model, job_dir / training_job.CHECKPOINT_FILE)
    if job.is_done(start.history):
        print(f"all {start.epoch} epochs are done", flush=True)
    else:
        print(f"going on in epoch {start.epoch + 1} of {job.epochs}, after step {start.step} of {steps}", flush=True)
