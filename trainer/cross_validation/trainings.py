"""All trainings of a cross-validation, several at a time in processes of their own."""

import contextlib
from collections.abc import Iterable, Sequence
from functools import partial

from tfrecords import command_line
from tfrecords.command_line import UserError
from trainer import models
from trainer.cross_validation import fold_run
from trainer.cross_validation.fold_run import Done, FoldRun
from trainer.cross_validation.progress import Progress
from trainer.cross_validation.workers import WorkerEndedError, Workers


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
      threads: of each. Not to be chosen by what is left: with others, a run that goes on would sum in another order
        than an unbroken one.

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
    with Workers[FoldRun, Done](count, partial(fold_run.prepare, threads), fold_run.carry_out) as workers:
        try:
            for each, done in workers.do(left, ready=lambda each: each.may_begin):
                print(progress.line(each.run, done), flush=True)
        except WorkerEndedError as error:
            assert isinstance(error.task, FoldRun)  # noqa: S101 - all tasks are
            raise UserError(
                f"{error.task.run}: its process ended with status {error.status} (-9: killed, perhaps for want of "
                f"memory; fewer --processes need less); see {error.task.job_dir / fold_run.LOG_FILE}"
            ) from None
