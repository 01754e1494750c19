"""Trains a genre model on a dataset of sharded TFRecords.

python -m trainer.train --data_dir=OUT --job_dir=JOB [--model=black_box] [--epochs=40] [--test_fold=9] ...

Weights and normalisation come from the training parts; the validation part chooses the epoch; the test part is not
read. JOB then holds config.json, best.keras, history.csv and logs/ for TensorBoard.

A training that was stopped, however it was, goes on when the same command is given again: after the step at which its
state was last saved (JOB/state.npz, at the end of every epoch and every --save_every_s seconds), with the batches,
learning rates and dropout that an unbroken one has from there on. With --data_service the batches come in no fixed
order, so there it goes on without that promise. --overwrite starts over.
"""

import dataclasses
import math
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfrecords import command_line
from tfrecords.augmentation import Augmentation
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest
from trainer import data_service, models, training_job
from trainer.parts import check_patches, choose_parts
from trainer.training_job import TrainingJob
from trainer.training_state import STATE_FILE, TrainingState, build, values_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from trainer.batch_log import BatchLog

FLAGS = flags.FlagValues()
flags.DEFINE_string("data_dir", "", "directory of the dataset", flag_values=FLAGS)
flags.DEFINE_string("job_dir", "", "directory for the model, its history and logs", flag_values=FLAGS)
flags.DEFINE_string("model", "black_box", " or ".join(models.MODELS), flag_values=FLAGS)
flags.DEFINE_integer("epochs", 40, "at most", flag_values=FLAGS)
flags.DEFINE_integer("patience", 8, "stop after so many epochs without a better validation loss", flag_values=FLAGS)
flags.DEFINE_integer("batch_size", 64, "patches in a step", flag_values=FLAGS)
flags.DEFINE_float("learning_rate", 1e-3, "of Adam, at the start; falls to 0 along a cosine", flag_values=FLAGS)
flags.DEFINE_integer("patch_frames", 80, "frames that the model sees at once", flag_values=FLAGS)
flags.DEFINE_integer("test_fold", None, "fold kept for the score; by default the last", flag_values=FLAGS)
flags.DEFINE_integer("valid_fold", None, "fold that chooses the epoch; by default the one before", flag_values=FLAGS)
flags.DEFINE_string(
    "augment",
    "",
    "how training batches are varied, such as frequency_masks=2,time_masks=2,gain_db=6,mixup_alpha=0.2; "
    "python -m tfrecords show OUT --augment=... draws it",
    flag_values=FLAGS,
)
flags.DEFINE_integer("seed", 0, "of weights, dropout and order", flag_values=FLAGS)
flags.DEFINE_bool("overwrite", False, "start over in a job_dir that holds a job", flag_values=FLAGS)
flags.DEFINE_float(
    "save_every_s",
    300.0,
    "save the state so often within an epoch; 0: after every step",
    lower_bound=0.0,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "data_service", None, "grpc://HOST:PORT that makes the training batches (tools.data_service)", flag_values=FLAGS
)
flags.DEFINE_string(
    "log_batches",
    None,
    "file to which a line 'epoch step sha256' is added for each batch trained on, to check where a training went on",
    flag_values=FLAGS,
)


@dataclasses.dataclass(frozen=True)
class Running:
    """How a training runs, which does not change what it computes (but see trainer.data_service on the order).

    Attributes:
      save_every_s: seconds from one save of the state within an epoch to the next; 0: after every step.
      data_service: grpc://HOST:PORT of a dispatcher that makes the training batches; None: this process does.
      log_batches: file for a line per batch, see trainer.batch_log; None: none.
    """

    save_every_s: float = 300.0
    data_service: str | None = None
    log_batches: Path | None = None


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Checks everything, then trains."""
    command_line.no_arguments(positional)
    if not flag_values.data_dir or not flag_values.job_dir:
        raise UserError("--data_dir=OUT and --job_dir=JOB are needed (see --help)")
    job_dir = Path(flag_values.job_dir)
    job = make_job(flag_values)
    if flag_values.data_service is not None:
        data_service.check_service(flag_values.data_service)
    _make_dir(job_dir)
    with training_job.claimed(job_dir):
        train(
            job,
            job_dir,
            start=None if flag_values.overwrite else unfinished(job, job_dir),
            running=Running(
                save_every_s=flag_values.save_every_s,
                data_service=flag_values.data_service,
                log_batches=Path(flag_values.log_batches) if flag_values.log_batches else None,
            ),
        )


def make_job(flag_values: flags.FlagValues) -> TrainingJob:
    """The flags and the dataset's manifest as a job.

    Raises:
      UserError: no dataset, no such fold or model, nothing to train or validate on, a value out of range.
    """
    manifest = Manifest.load(flag_values.data_dir)
    parts = choose_parts(manifest, test_fold=flag_values.test_fold, valid_fold=flag_values.valid_fold)
    job = TrainingJob(
        data_dir=str(Path(flag_values.data_dir).resolve()),
        fingerprint=manifest.fingerprint,
        model=flag_values.model,
        parts=parts,
        labels=manifest.labels,
        front_end=manifest.front_end,
        statistics=manifest.statistics(parts.train),
        patch_frames=flag_values.patch_frames,
        batch_size=flag_values.batch_size,
        learning_rate=flag_values.learning_rate,
        epochs=flag_values.epochs,
        patience=flag_values.patience,
        seed=flag_values.seed,
        versions={name: metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        augmentation=Augmentation.parse(flag_values.augment),
    )
    job.augmentation.check_fits(patch_frames=job.patch_frames, mel_bands=manifest.mel_bands)
    for role, names in (("training", parts.train), ("validation", parts.valid), ("test", parts.test)):
        check_patches(manifest, names, role, patch_frames=job.patch_frames)
        manifest.check_files(job.data_dir, names)
    return job


def _make_dir(job_dir: Path) -> None:
    try:
        job_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--job_dir={job_dir} cannot be made: {error.strerror}") from None


def unfinished(job: TrainingJob, job_dir: Path) -> TrainingState | None:
    """Where the directory's unfinished training of this job stands; None if the directory holds no job.

    Raises:
      UserError: it holds a finished job, an unfinished one of another configuration, or a damaged state.
    """
    if not (job_dir / training_job.CONFIG_FILE).exists():
        return None
    if not (job_dir / STATE_FILE).exists():
        raise UserError(f"{job_dir} already holds a job; choose another --job_dir, or --overwrite it")
    differences = TrainingJob.load(job_dir).differences(job)
    if differences:
        raise UserError(
            f"{job_dir} holds an unfinished job that differs: {'; '.join(differences)}; "
            "go on with its flags, choose another --job_dir, or --overwrite it"
        )
    return TrainingState.load(job_dir / STATE_FILE)


def _start_over(job: TrainingJob, job_dir: Path, model: "keras.Model") -> TrainingState:
    """Leaves a job that is yet to begin in its directory, and nothing of an earlier one."""
    for name in (
        training_job.CONFIG_FILE,
        training_job.CHECKPOINT_FILE,
        training_job.HISTORY_FILE,
        training_job.METRICS_FILE,
        training_job.REPORT_FILE,
    ):
        (job_dir / name).unlink(missing_ok=True)
    shutil.rmtree(job_dir / training_job.LOGS_DIR, ignore_errors=True)
    start = TrainingState(variables=values_of(model))
    # The state first: a configuration without one is that of a finished job.
    start.save(job_dir / STATE_FILE)
    job.save(job_dir)
    return start


def _go_on(job: TrainingJob, job_dir: Path, model: "keras.Model", start: TrainingState, *, steps: int) -> None:
    """Gives the model what was saved, and finishes what may have come after that."""
    from trainer.callbacks import save_model

    start.restore(model, job_dir / STATE_FILE)
    job.save(job_dir)
    training_job.write_history(job_dir, start.history)
    # The state of an epoch's end is saved before its model is.
    if start.epoch and start.epoch == start.best_epoch and not start.step:
        save_model(model, job_dir / training_job.CHECKPOINT_FILE)
    if _is_done(job, start):
        print(f"all {start.epoch} epochs are done", flush=True)
    else:
        print(f"going on in epoch {start.epoch + 1} of {job.epochs}, after step {start.step} of {steps}", flush=True)


def _is_done(job: TrainingJob, state: TrainingState) -> bool:
    return state.epoch == job.epochs or 0 < state.best_epoch <= state.epoch - job.patience


def train(
    job: TrainingJob, job_dir: Path, *, start: TrainingState | None = None, running: Running | None = None
) -> None:
    """Trains a job's model; the best epoch's weights are in job_dir/best.keras afterwards.

    Args:
      job: what to train.
      job_dir: an earlier job there is gone once this one's model and data are known to be good.
      start: where this job's training was left, if it was (see `unfinished`).
      running: how; by default as the command line does.

    Raises:
      UserError: the loss is no longer a number, the model's filters do not fit the patches, a shard is corrupt, the
        state is another model's.
    """
    command_line.import_tensorflow()
    import keras

    manifest = Manifest.load(job.data_dir)
    keras.utils.set_random_seed(job.seed)
    patches = manifest.num_patches(job.parts.train, patch_frames=job.patch_frames, patch_hop=job.patch_frames)
    steps = -(-patches // job.batch_size)
    model = _compiled_model(job, mel_bands=manifest.mel_bands, steps=steps)
    if start is None:
        start = _start_over(job, job_dir, model)
    else:
        _go_on(job, job_dir, model, start, steps=steps)
    print(
        f"{job.model}: {model.count_params():,} parameters, {patches} patches of {job.patch_frames} frames; "
        f"training on {', '.join(job.parts.train)}, validating on {', '.join(job.parts.valid)}",
        flush=True,
    )
    best_epoch = _fit(model, job, job_dir, start, running or Running(), steps=steps)
    (job_dir / STATE_FILE).unlink()
    checkpoint = job_dir / training_job.CHECKPOINT_FILE
    print(f"best epoch {best_epoch}: {checkpoint} (curves: tensorboard --logdir={job_dir})")


def _compiled_model(job: TrainingJob, *, mel_bands: int, steps: int) -> "keras.Model":
    """The job's model with its optimiser, whose rate falls to 0 over `steps` per epoch."""
    import keras

    shape = (job.patch_frames, mel_bands, 1)
    model = models.create(job.model, num_classes=len(job.labels), input_shape=shape)
    soft = job.augmentation.soft_labels
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(job.learning_rate, steps * job.epochs)),
        keras.losses.CategoricalCrossentropy() if soft else keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        # On a CPU, XLA runs the long filters of `time` at half the speed.
        jit_compile=False,
    )
    build(model, soft_labels=soft)
    return model


def _training_batches(
    job: TrainingJob, running: Running, log: "BatchLog | None", *, epoch: int, step: int, steps: int
) -> "tf.data.Dataset":
    """Patches and labels of the training parts: from a step of an epoch on, or of one epoch by a service."""
    from tfrecords.augment import Augmenter, augmented
    from tfrecords.dataset import load

    def batches_from(step: int, epochs: int | None) -> "tf.data.Dataset":
        return load(
            job.data_dir,
            parts=job.parts.train,
            training=True,
            seed=job.seed,
            epoch=epoch,
            step=step,
            epochs=epochs,
            batch_size=job.batch_size,
            patch_frames=job.patch_frames,
            statistics=job.statistics,
        )

    if running.data_service:
        batches = data_service.distributed(lambda start: batches_from(start, 1), running.data_service, steps=steps)
    else:
        batches = batches_from(step, None)
    if job.augmentation != Augmentation():
        augmenter = Augmenter(
            job.augmentation, num_classes=len(job.labels), front_end=job.front_end, statistics=job.statistics
        )
        batches = augmented(batches, augmenter, seed=job.seed, first_batch=epoch * steps + step)
    return log.recorded(batches, epoch=epoch, step=step) if log else batches


def _validation_batches(job: TrainingJob) -> "tf.data.Dataset":
    """Patches and labels of the validation parts, once; labels in the form that the loss takes."""
    import tensorflow as tf

    from tfrecords.dataset import load

    batches = load(
        job.data_dir,
        parts=job.parts.valid,
        batch_size=job.batch_size,
        patch_frames=job.patch_frames,
        statistics=job.statistics,
    )
    classes = len(job.labels) if job.augmentation.soft_labels else None
    return batches.map(
        lambda patches, labels, track_ids: (patches, labels if classes is None else tf.one_hot(labels, classes))
    )


def _stretches(job: TrainingJob, start: TrainingState, running: Running) -> Iterator[tuple[int, int, int]]:
    """What one `fit` each has to do: (first epoch, its first step, the epoch after the last).

    A `fit` has epochs of one length, so an epoch that goes on stands alone; and a service gives one epoch at a time.
    """
    if _is_done(job, start):
        return
    epoch, step = start.epoch, start.step
    while epoch < job.epochs:
        end = epoch + 1 if step or running.data_service else job.epochs
        yield epoch, step, end
        epoch, step = end, 0


def _fit(
    model: "keras.Model", job: TrainingJob, job_dir: Path, start: TrainingState, running: Running, *, steps: int
) -> int:
    """Runs the epochs that are left and returns the best of all, whose model is in job_dir/best.keras."""
    from tfrecords.reading import reading
    from trainer.batch_log import BatchLog
    from trainer.callbacks import BestCheckpoint

    losses = [row["val_loss"] for row in start.history]
    best = BestCheckpoint(
        job_dir / training_job.CHECKPOINT_FILE, best=min(losses, default=math.inf), best_epoch=start.best_epoch
    )
    log = BatchLog(running.log_batches, steps=steps) if running.log_batches else None
    callbacks = _callbacks(job, job_dir, start, best, steps=steps, save_every_s=running.save_every_s)
    for epoch, step, end in _stretches(job, start, running):
        with reading(job.data_dir, (*job.parts.train, *job.parts.valid)):
            model.fit(
                _training_batches(job, running, log, epoch=epoch, step=step, steps=steps),
                initial_epoch=epoch,
                epochs=end,
                steps_per_epoch=steps - step,
                shuffle=False,  # The data set shuffles itself.
                validation_data=_validation_batches(job),
                # On a terminal Keras' own bar shows every step; a log gets a line per epoch.
                verbose=1 if sys.stdout.isatty() else 0,
                callbacks=[*callbacks, *([log] if log else [])],
            )
        if model.stop_training:
            break
    return best.best_epoch


def _callbacks(
    job: TrainingJob,
    job_dir: Path,
    start: TrainingState,
    best: "keras.callbacks.Callback",
    *,
    steps: int,
    save_every_s: float,
) -> list["keras.callbacks.Callback"]:
    import keras

    from trainer.callbacks import EpochLine, SaveProgress, StopOnNaN, StopWithoutBetter

    return [
        StopOnNaN(),
        # Before the best model is written, which can be written again from the state.
        SaveProgress(job_dir, start, steps=steps, save_every_s=save_every_s),
        best,
        *([] if sys.stdout.isatty() else [EpochLine(job.epochs)]),
        keras.callbacks.TensorBoard(job_dir / training_job.LOGS_DIR),
        StopWithoutBetter(best, job.patience),
    ]


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
