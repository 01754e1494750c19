"""What training and validation are fed: patches, and labels in the form that the job's loss takes.

Labels are numbers, [batch] int32, or shares of every label, [batch, labels] float32, where training has such labels
(`TrainingJob.soft_labels`). Smoothing takes a share s of each training label's 1 and deals it evenly to all labels:
(1 - s) x label + s / labels (Szegedy et al. 2016, Rethinking the Inception Architecture). It is done here and not in
the loss, so that the validation loss is that of the labels as they are.
"""

import tensorflow as tf

from tfrecords.augment import Augmenter, augmented
from tfrecords.augmentation import Augmentation
from tfrecords.dataset import load
from trainer.training.batch_log import BatchLog
from trainer.training_job import TrainingJob


def training_batches(job: TrainingJob, log: BatchLog | None, *, epoch: int, step: int, steps: int) -> tf.data.Dataset:
    """Patches and labels of the training parts, from a step of an epoch on and without end."""
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
    return log.recorded(batches, epoch=epoch, step=step) if log else batches


def validation_batches(job: TrainingJob) -> tf.data.Dataset:
    """Patches and labels of the validation parts, once."""
    batches = load(
        job.data_dir,
        parts=job.parts.valid,
        batch_size=job.batch_size,
        patch_frames=job.patch_frames,
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
