"""The batches that training and validation are fed, and a log of those that were trained on.

Labels are numbers, [batch] int32, or shares of every label, [batch, labels] float32, where training has such labels
(`TrainConfig.soft_labels`). Smoothing takes a share s of each training label's 1 and deals it evenly to all labels:
(1 - s) x label + s / labels (Szegedy et al. 2016, Rethinking the Inception Architecture). It is done here and not in
the loss, so that the validation loss is that of the labels as they are.
"""

import hashlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfrecords.augment import Augmenter, augmented
from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tfrecords.reader import load
from trainer.training_job import TrainingJob


class BatchLog(keras.callbacks.Callback):
    """Appends a line `epoch step sha256` once a batch has been trained on, both numbers from 0. Keeps no file open.

    It shows that a training which was interrupted went on where it was. The hash is over the patches' and the labels'
    bytes. A batch that was read ahead but not trained on has no line.
    """

    def __init__(self, path: Path, *, steps: int) -> None:
        """Create the file, or check that an earlier one can be appended to.

        Args:
          path: of the log.
          steps: in an epoch.

        Raises:
          UserError: the file cannot be written.
        """
        super().__init__()
        try:
            path.open("a").close()
        except OSError as error:
            raise UserError(f"`log_batches={path}` cannot be written: {error.strerror}") from None
        self._path = path
        self._steps = steps
        self._hashes: dict[int, str] = {}
        self._number = 0

    def record(self, batches: tf.data.Dataset, *, epoch: int, step: int) -> tf.data.Dataset:
        """Return the same batches, hashed as they are read.

        Args:
          batches: of (patches, labels), for the next `fit`.
          epoch: of the first batch.
          step: of the first batch.
        """
        self._number = epoch * self._steps + step

        def hash_batch(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            tf.numpy_function(self._hash, [number, *batch], [])
            return batch

        return batches.enumerate(self._number).map(hash_batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Write the batch's line."""
        epoch, step = divmod(self._number, self._steps)
        with self._path.open("a", encoding="ascii") as file:
            file.write(f"{epoch} {step} {self._hashes.pop(self._number)}\n")
        self._number += 1

    def _hash(self, number: int, patches: np.ndarray, labels: np.ndarray) -> None:
        # Reading is ahead of training, so that hashes wait for their turn.
        self._hashes[int(number)] = hashlib.sha256(patches.tobytes() + labels.tobytes()).hexdigest()


def training_batches(job: TrainingJob, log: BatchLog | None, *, epoch: int, step: int, steps: int) -> tf.data.Dataset:
    """Return patches and labels of the training parts, from a step of an epoch on and without end."""
    batches = load(
        job.data_dir,
        parts=job.parts.train,
        training=True,
        seed=job.seed,
        epoch=epoch,
        step=step,
        epochs=None,
        batch_size=job.batch_size,
        patch_frames=job.patch_frames,
        patch_mode=job.patch_mode,
        statistics=job.statistics,
    )
    if job.augmentation != Augmentation():
        augmenter = Augmenter(
            job.augmentation, num_classes=len(job.labels), front_end=job.front_end, statistics=job.statistics
        )
        batches = augmented(batches, augmenter, seed=job.seed, first_batch=epoch * steps + step)
    if job.label_smoothing:
        batches = batches.map(lambda patches, labels: (patches, _smoothed(_shares(labels, job), job)))
    return log.record(batches, epoch=epoch, step=step) if log else batches


def validation_batches(job: TrainingJob) -> tf.data.Dataset:
    """Return patches and labels of the validation parts, once."""
    batches = load(
        job.data_dir,
        parts=job.parts.valid,
        batch_size=job.batch_size,
        patch_frames=job.patch_frames,
        patch_mode=job.evaluation_mode,
        statistics=job.statistics,
    )
    return batches.map(
        lambda patches, labels, track_ids: (patches, _shares(labels, job) if job.soft_labels else labels)
    )


def _shares(labels: tf.Tensor, job: TrainingJob) -> tf.Tensor:
    """Labels as shares; mixup has made them so already."""
    return labels if labels.shape.rank == 2 else tf.one_hot(labels, len(job.labels))


def _smoothed(shares: tf.Tensor, job: TrainingJob) -> tf.Tensor:
    return (1 - job.label_smoothing) * shares + job.label_smoothing / len(job.labels)
