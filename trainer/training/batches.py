"""The batches that training and validation are fed, and a log of those that were trained on.

Labels are numbers, [batch] int32, or shares of every label, [batch, labels] float32, where training has such labels
(`TrainConfig.soft_labels`). Smoothing takes a share s of each training label's 1 and deals it evenly to all labels:
(1 - s) x label + s / labels (Szegedy et al. 2016, Rethinking the Inception Architecture). It is done here and not in
the loss, so that the validation loss is that of the labels as they are. So are the weights of labels: a row of shares
sums to the weight of its patch in the loss (`trainer.training.losses.WeightedCrossentropy`), that of a mixed patch to
the mean of its labels' weights.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecords.augment import Augmenter, augmented
from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import Manifest
from tfrecords.reader import load, patches_per_label
from tfrecords.streams import count_streams
from trainer.config import BALANCED
from trainer.training.losses import balanced_weights
from trainer.training_job import TrainingJob, count_patches


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


@dataclasses.dataclass(frozen=True)
class HostRows:
    """The rows of every global batch that one of several hosts trains on.

    A host reads no more than its rows, unless training patches are mixed or varied at random, which is done to the
    whole batch, or the streams of a batch (`tfrecords.streams`) cannot be divided evenly among the hosts: then every
    host reads all, and keeps its rows.

    Attributes:
      host: which host this is, from 0.
      hosts: how many there are.
    """

    host: int = 0
    hosts: int = 1

    def reads_share(self, job: TrainingJob) -> bool:
        """Whether training reads this host's rows only."""
        return job.augmentation == Augmentation() and self.divides(job.batch_size)

    def divides(self, batch_size: int) -> bool:
        """Whether all hosts can read as many rows of each batch."""
        return count_streams(batch_size) % self.hosts == 0

    def load_options(self, *, shares: bool) -> dict[str, Any]:
        """Return the arguments of `tfrecords.load` for this host's rows, or for all."""
        return {"host_index": self.host, "num_hosts": self.hosts} if shares else {}

    def keep(
        self, batches: tf.data.Dataset, *, shares: bool, batch_size: int, patches: int, step: int = 0
    ) -> tf.data.Dataset:
        """Return this host's (patches, labels) and the number of rows of each global batch, [] int32.

        Args:
          batches: of (patches, labels): this host's rows if it `shares` the reading, otherwise global batches.
          shares: see above.
          batch_size: of the global batch.
          patches: in an epoch, of all hosts.
          step: of the first batch.
        """
        if self.hosts == 1:
            return batches
        rows, steps = -(-batch_size // self.hosts), -(-patches // batch_size)
        begin = self.host * rows

        def with_total(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            own = batch if shares else tuple(values[begin : begin + rows] for values in batch)
            left = tf.cast(patches - number % steps * batch_size, tf.int32)
            return *own, tf.minimum(left, batch_size)

        return batches.enumerate(step).map(with_total)


def training_batches(
    job: TrainingJob, log: BatchLog | None, *, epoch: int, step: int, patches: int, rows: HostRows | None = None
) -> tf.data.Dataset:
    """Return patches and labels of the training parts, from a step of an epoch on and without end.

    Args:
      job: what is trained.
      log: of the batches.
      epoch: of the first batch.
      step: of the first batch.
      patches: in an epoch.
      rows: which rows of each batch; of several hosts, the batches are those of `HostRows.keep`.
    """
    rows = rows or HostRows()
    shares = rows.reads_share(job)
    steps = -(-patches // job.batch_size)
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
        balanced=job.sampling == BALANCED,
        **rows.load_options(shares=shares),
    )
    if job.augmentation != Augmentation():
        augmenter = Augmenter(
            job.augmentation, num_classes=len(job.labels), front_end=job.front_end, statistics=job.statistics
        )
        batches = augmented(batches, augmenter, seed=job.seed, first_batch=epoch * steps + step)
    if job.label_smoothing or job.class_weights == BALANCED:
        weights = label_weights(job)
        batches = batches.map(lambda patches, labels: (patches, _weighted(_shares(labels, job), job, weights)))
    if log:
        batches = log.record(batches, epoch=epoch, step=step)
    return rows.keep(batches, shares=shares, batch_size=job.batch_size, patches=patches, step=step)


def validation_batches(job: TrainingJob, rows: HostRows | None = None) -> tf.data.Dataset:
    """Return patches and labels of the validation parts, once; of several hosts, as `HostRows.keep`."""
    rows = rows or HostRows()
    shares = rows.divides(job.batch_size)
    dataset = Dataset(job.data_dir)
    batches = dataset.batches(
        parts=job.parts.valid,
        batch_size=job.batch_size,
        patch_frames=job.patch_frames,
        patch_mode=job.evaluation_mode,
        statistics=job.statistics,
        **rows.load_options(shares=shares),
    ).map(lambda patches, labels, track_ids: (patches, _shares(labels, job) if job.soft_labels else labels))
    patches = count_patches(
        dataset.manifest, job.parts.valid, patch_frames=job.patch_frames, patch_mode=job.evaluation_mode
    )
    return rows.keep(batches, shares=shares, batch_size=job.batch_size, patches=patches)


def _shares(labels: tf.Tensor, job: TrainingJob) -> tf.Tensor:
    """Labels as shares; mixup has made them so already."""
    return labels if labels.shape.rank == 2 else tf.one_hot(labels, len(job.labels))


def _weighted(shares: tf.Tensor, job: TrainingJob, weights: np.ndarray | None) -> tf.Tensor:
    """Return shares, smoothed, whose rows sum to the mean weight of the labels that they were before."""
    smoothed = (1 - job.label_smoothing) * shares + job.label_smoothing / len(job.labels)
    if weights is None:
        return smoothed
    return smoothed * tf.linalg.matvec(shares, tf.constant(weights, tf.float32))[:, tf.newaxis]


def label_weights(job: TrainingJob) -> np.ndarray | None:
    """Return the weight of each label in the training loss, [labels] float64; None where all are equal."""
    return balanced_weights(label_counts(job)) if job.class_weights == BALANCED else None


def label_counts(job: TrainingJob) -> np.ndarray:
    """Return how many patches of each label the training parts hold, [labels] int64."""
    return patches_per_label(
        job.data_dir, parts=job.parts.train, patch_frames=job.patch_frames, patch_mode=job.patch_mode
    )


def count_training_patches(job: TrainingJob, manifest: Manifest) -> int:
    """Return how many patches an epoch trains on."""
    if job.sampling == BALANCED:
        counts = label_counts(job)
        return int(counts.max() * np.count_nonzero(counts))
    return count_patches(manifest, job.parts.train, patch_frames=job.patch_frames, patch_mode=job.patch_mode)
