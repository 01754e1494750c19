"""The epochs of a training: its model, what each epoch is fed, and the callbacks around it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras

from tfrecords.reader import raise_shard_errors
from trainer import job_store, models
from trainer.distribution import precision
from trainer.distribution.devices import Devices
from trainer.training.batches import BatchLog, HostRows, training_batches, validation_batches
from trainer.training.callbacks import (
    BestCheckpoint,
    HalveRate,
    PublishCopy,
    SaveProgress,
    StopOnNaN,
    StopWhenAsked,
    StopWhenDone,
    WeightAverage,
)
from trainer.training.input_wait import InputWait
from trainer.training.progress import PaceMeter, ProgressLines
from trainer.training.run_options import RunOptions
from trainer.training.schedules import History, new_optimizer
from trainer.training.tensorboard import Board, ConfusionPicture, ProfileSteps
from trainer.training.training_state import TrainingState, build
from trainer.training_job import CHECKPOINT_FILE, TrainingJob


@contextlib.contextmanager
def monitoring_callbacks(
    job: TrainingJob,
    job_dir: Path,
    options: RunOptions,
    progress: SaveProgress,
    wait: InputWait,
    *,
    steps: int,
    patches: int,
) -> Iterator[list[keras.callbacks.Callback]]:
    """Give the callbacks that show a training and keep its best model; afterwards clear the bar and end the trace.

    Args:
      job: what is trained.
      job_dir: of its files.
      options: how it runs.
      progress: saves where training stands; before these in the list of callbacks.
      wait: what the batches are read through.
      steps: in an epoch.
      patches: in an epoch.
    """
    meter = PaceMeter(progress, lambda: wait.seconds, patches=patches, batch_size=job.batch_size, steps=steps)
    validates = bool(job.parts.valid)
    lines = ProgressLines(progress, meter, epochs=job.epochs, steps=steps, validates=validates)
    board = Board(job_dir, meter, validates=validates)
    pictures = board.validation if options.pictures else None
    profile = ProfileSteps(job_dir, *options.profile_steps) if options.profile_steps else None
    try:
        yield [
            meter,
            # Right after the state is saved: an epoch that is left out here is never written again.
            board,
            BestCheckpoint(job_dir / CHECKPOINT_FILE, job.rules, progress.history),
            lines,
            *([ConfusionPicture(job, job_dir, progress.history, pictures)] if pictures else []),
            *([profile] if profile else []),
        ]
    finally:
        lines.clear()
        if profile:
            profile.close()


def new_model(job: TrainingJob, *, mel_bands: int, steps: int, options: RunOptions, devices: Devices) -> keras.Model:
    """Return the job's model with its optimizer, as before the first step: a function of the job alone.

    Args:
      job: what to train.
      mel_bands: of the patches.
      steps: in an epoch.
      options: how it runs.
      devices: on which.

    Raises:
      UserError: no such options of the model, or its filters do not fit the patches.
    """
    keras.utils.set_random_seed(job.seed)
    shape = (job.patch_frames, mel_bands, 1)
    with devices.scope(), precision.computing_in(job.precision):
        model = models.create(job.model, num_classes=len(job.labels), input_shape=shape, **job.model_options)
        optimizer = precision.with_scaled_loss(new_optimizer(job, steps=steps * job.epochs), job.precision)
        optimizer.build(model.trainable_variables)
    soft = job.soft_labels
    # Outside of the scope: the metrics' variables are the host's own.
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy() if soft else keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=devices.default_jit if options.jit_compile is None else options.jit_compile,
    )
    build(model, soft_labels=soft)
    return model


def epoch_ranges(job: TrainingJob, start: TrainingState) -> Iterator[tuple[int, int, int]]:
    """Yield what each `fit` has to do: (first epoch, its first step, the epoch after the last).

    A `fit` has epochs of one length, so an epoch that goes on stands alone.
    """
    if job.is_done(start.history):
        return
    epoch, step = start.epoch, start.step
    while epoch < job.epochs:
        end = epoch + 1 if step else job.epochs
        yield epoch, step, end
        epoch, step = end, 0


def run_epochs(
    model: keras.Model,
    job: TrainingJob,
    job_dir: Path,
    start: TrainingState,
    options: RunOptions,
    *,
    steps: int,
    patches: int,
    devices: Devices,
) -> History:
    """Run the epochs that are left; afterwards job_dir/best.keras is the model of the epoch that is kept.

    Args:
      model: compiled, and as it was at `start`.
      job: what to train.
      job_dir: of its files.
      start: where training stands.
      options: how it runs.
      steps: in an epoch.
      patches: in an epoch.
      devices: that the model was made for.

    Returns:
      All epochs, with those before `start`.

    Raises:
      UserError: the loss is no longer a number, a shard is corrupt.
      HostLostError: another host of the training is gone.
    """
    chief = devices.is_chief
    progress = SaveProgress(job_dir, start, steps=steps, save_every_s=options.save_every_s, writes=chief)
    log = BatchLog(options.log_batches, steps=steps) if options.log_batches and chief else None
    stop = StopWhenAsked(options.stop, progress, name=job.model, epochs=job.epochs, steps=steps)
    wait = InputWait()
    fit = devices.fit_of(model, batch_size=job.batch_size, wait=wait)
    rows = HostRows(devices.host, devices.hosts)
    if devices.hosts > 1 and not rows.reads_share(job):
        print(f"each of the {devices.hosts} hosts reads all training data, and keeps its rows", flush=True)
    with contextlib.ExitStack() as stack:
        watchers: list[keras.callbacks.Callback] = []
        if chief:
            seen = monitoring_callbacks(job, job_dir, options, progress, wait, steps=steps, patches=patches)
            watchers = stack.enter_context(seen)
        published = [PublishCopy(job_dir)] if chief and job_store.is_published(job_dir) else []
        callbacks = [*_callbacks(job, progress, watchers), *([log] if log else []), *published, stop]
        for epoch, step, end in epoch_ranges(job, start):
            with raise_shard_errors():
                fit(
                    training_batches(job, log, epoch=epoch, step=step, patches=patches, rows=rows),
                    initial_epoch=epoch,
                    epochs=end,
                    steps_per_epoch=steps - step,
                    validation_data=validation_batches(job, rows) if job.parts.valid else None,
                    callbacks=callbacks,
                )
            if model.stop_training:
                break
    return progress.history


def _callbacks(
    job: TrainingJob, progress: SaveProgress, watchers: list[keras.callbacks.Callback]
) -> list[keras.callbacks.Callback]:
    """Return the callbacks of every host, with those that show and save, which only the chief has."""
    history, rules = progress.history, job.rules
    return [
        *([WeightAverage()] if job.weight_average else []),
        StopOnNaN(),
        # Before the best model is written, which can be written again from the state.
        progress,
        *watchers,
        *([HalveRate(rules, history, job.learning_rate)] if rules.rises else []),
        StopWhenDone(lambda: job.is_done(history)),
    ]
