"""Trains a genre model on a dataset of sharded TFRecords.

python -m trainer.train --data_dir=OUT --job_dir=JOB [--model=black_box] [--epochs=40] [--test_fold=9] ...

Weights and normalisation come from the training parts; the validation part chooses the epoch; the test part is not
read. JOB then holds config.json, best.keras, history.csv and logs/ for TensorBoard.
"""

import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfrecords import command_line
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest
from trainer import models, training_job
from trainer.parts import check_patches, choose_parts
from trainer.training_job import TrainingJob

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

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
flags.DEFINE_integer("seed", 0, "of weights, dropout and order", flag_values=FLAGS)
flags.DEFINE_bool("overwrite", False, "start over in a job_dir that holds a job", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Checks everything, then trains."""
    command_line.no_arguments(positional)
    if not flag_values.data_dir or not flag_values.job_dir:
        raise UserError("--data_dir=OUT and --job_dir=JOB are needed (see --help)")
    job_dir = Path(flag_values.job_dir)
    job = make_job(flag_values)
    _check_free(job_dir, flag_values.overwrite)
    train(job, job_dir)


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
    )
    for role, names in (("training", parts.train), ("validation", parts.valid), ("test", parts.test)):
        check_patches(manifest, names, role, patch_frames=job.patch_frames)
        manifest.check_files(job.data_dir, names)
    return job


def _check_free(job_dir: Path, overwrite: bool) -> None:
    if (job_dir / training_job.CONFIG_FILE).exists() and not overwrite:
        raise UserError(f"{job_dir} already holds a job; choose another --job_dir, or --overwrite it")
    try:
        job_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--job_dir={job_dir} cannot be made: {error.strerror}") from None


def _start_over(job: TrainingJob, job_dir: Path) -> None:
    """Leaves the job's configuration in its directory, and nothing of an earlier job."""
    for name in (
        training_job.CONFIG_FILE,
        training_job.CHECKPOINT_FILE,
        training_job.HISTORY_FILE,
        training_job.METRICS_FILE,
        training_job.REPORT_FILE,
    ):
        (job_dir / name).unlink(missing_ok=True)
    shutil.rmtree(job_dir / training_job.LOGS_DIR, ignore_errors=True)
    job.save(job_dir)


def train(job: TrainingJob, job_dir: Path) -> None:
    """Trains a job's model; the best epoch's weights are in job_dir/best.keras afterwards.

    An earlier job in job_dir is gone once this one's model and data are known to be good.

    Raises:
      UserError: the loss is no longer a number, the model's filters do not fit the patches, a shard is corrupt.
    """
    command_line.import_tensorflow()
    import keras

    manifest = Manifest.load(job.data_dir)
    keras.utils.set_random_seed(job.seed)
    patches = manifest.num_patches(job.parts.train, patch_frames=job.patch_frames, patch_hop=job.patch_frames)
    steps = -(-patches // job.batch_size)
    model = _compiled_model(job, mel_bands=manifest.mel_bands, steps=steps)
    training, validation = _batches(job)
    _start_over(job, job_dir)
    print(
        f"{job.model}: {model.count_params():,} parameters, {patches} patches of {job.patch_frames} frames; "
        f"training on {', '.join(job.parts.train)}, validating on {', '.join(job.parts.valid)}",
        flush=True,
    )
    best_epoch = _fit(model, job, job_dir, training, validation, steps=steps)
    checkpoint = job_dir / training_job.CHECKPOINT_FILE
    print(f"best epoch {best_epoch}: {checkpoint} (curves: tensorboard --logdir={job_dir})")


def _compiled_model(job: TrainingJob, *, mel_bands: int, steps: int) -> "keras.Model":
    """The job's model with its optimiser, whose rate falls to 0 over `steps` per epoch."""
    import keras

    shape = (job.patch_frames, mel_bands, 1)
    model = models.create(job.model, num_classes=len(job.labels), input_shape=shape)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(job.learning_rate, steps * job.epochs)),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        # On a CPU, XLA runs the long filters of `time` at half the speed.
        jit_compile=False,
    )
    return model


def _batches(job: TrainingJob) -> tuple["tf.data.Dataset", "tf.data.Dataset"]:
    """Patches and labels: of the training parts without end, of the validation parts once."""
    from tfrecords.dataset import load

    common: dict[str, Any] = {
        "batch_size": job.batch_size,
        "patch_frames": job.patch_frames,
        "statistics": job.statistics,
    }
    training = load(job.data_dir, parts=job.parts.train, training=True, seed=job.seed, epochs=None, **common)
    validation = load(job.data_dir, parts=job.parts.valid, **common).map(lambda patch, label, track_id: (patch, label))
    return training, validation


def _fit(
    model: "keras.Model",
    job: TrainingJob,
    job_dir: Path,
    training: "tf.data.Dataset",
    validation: "tf.data.Dataset",
    *,
    steps: int,
) -> int:
    """Runs the epochs and returns the best one, whose model is in job_dir/best.keras."""
    from tfrecords.dataset import reading
    from trainer.callbacks import BestCheckpoint

    best = BestCheckpoint(job_dir / training_job.CHECKPOINT_FILE)
    with reading(job.data_dir):
        model.fit(
            training,
            steps_per_epoch=steps,
            epochs=job.epochs,
            shuffle=False,  # The data set shuffles itself.
            validation_data=validation,
            # On a terminal Keras' own bar shows every step; a log gets a line per epoch.
            verbose=1 if sys.stdout.isatty() else 0,
            callbacks=_callbacks(job, job_dir, best),
        )
    return best.best_epoch


def _callbacks(job: TrainingJob, job_dir: Path, best: "keras.callbacks.Callback") -> list["keras.callbacks.Callback"]:
    import keras

    from trainer.callbacks import EpochLine, StopOnNaN

    return [
        StopOnNaN(),
        best,
        *([] if sys.stdout.isatty() else [EpochLine(job.epochs)]),
        keras.callbacks.CSVLogger(job_dir / training_job.HISTORY_FILE),
        keras.callbacks.TensorBoard(job_dir / training_job.LOGS_DIR),
        keras.callbacks.EarlyStopping("val_loss", patience=job.patience),
    ]


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
