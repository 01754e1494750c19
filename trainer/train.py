"""Trains a genre model on a dataset of sharded TFRecords.

python -m trainer.train --data_dir=OUT --job_dir=JOB [--model=black_box] [--epochs=40] [--test_fold=9] ...

Weights and normalisation come from the training parts; the validation part chooses the epoch; the test part is not
read. JOB then holds config.json, best.keras, history.csv and logs/ for TensorBoard.
"""

import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import flags

from tfrecords import command_line
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest
from trainer import training_job
from trainer.parts import check_patches, choose_parts
from trainer.training_job import TrainingJob

FLAGS = flags.FlagValues()
flags.DEFINE_string("data_dir", "", "directory of the dataset", flag_values=FLAGS)
flags.DEFINE_string("job_dir", "", "directory for the model, its history and logs", flag_values=FLAGS)
flags.DEFINE_string("model", "black_box", "black_box or time", flag_values=FLAGS)
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
      UserError: no dataset, no such fold, nothing to train or validate on, a value out of range.
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
    for name in (training_job.CONFIG_FILE, training_job.CHECKPOINT_FILE, training_job.HISTORY_FILE):
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

    from tfrecords.dataset import load, reading
    from trainer import models
    from trainer.callbacks import BestCheckpoint, EpochLine, StopOnNaN

    manifest = Manifest.load(job.data_dir)
    keras.utils.set_random_seed(job.seed)
    shape = (job.patch_frames, manifest.mel_bands, 1)
    model = models.create(job.model, num_classes=len(job.labels), input_shape=shape)
    patches = manifest.num_patches(job.parts.train, patch_frames=job.patch_frames, patch_hop=job.patch_frames)
    steps = -(-patches // job.batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(job.learning_rate, steps * job.epochs)),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        # On a CPU, XLA runs the long filters of `time` at half the speed.
        jit_compile=False,
    )
    common: dict[str, Any] = {
        "batch_size": job.batch_size,
        "patch_frames": job.patch_frames,
        "statistics": job.statistics,
    }
    training = load(job.data_dir, parts=job.parts.train, training=True, seed=job.seed, epochs=None, **common)
    validation = load(job.data_dir, parts=job.parts.valid, **common).map(lambda patch, label, track_id: (patch, label))
    _start_over(job, job_dir)
    print(
        f"{job.model}: {model.count_params():,} parameters, {patches} patches of {job.patch_frames} frames; "
        f"training on {', '.join(job.parts.train)}, validating on {', '.join(job.parts.valid)}",
        flush=True,
    )
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
            callbacks=[
                StopOnNaN(),
                best,
                *([] if sys.stdout.isatty() else [EpochLine(job.epochs)]),
                keras.callbacks.CSVLogger(job_dir / training_job.HISTORY_FILE),
                keras.callbacks.TensorBoard(job_dir / training_job.LOGS_DIR),
                keras.callbacks.EarlyStopping("val_loss", patience=job.patience),
            ],
        )
    checkpoint = job_dir / training_job.CHECKPOINT_FILE
    print(f"best epoch {best.best_epoch}: {checkpoint} (curves: tensorboard --logdir={job_dir})")


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
