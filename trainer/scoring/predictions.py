"""Runs a trained model over parts of a dataset."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from tfrecords import example
from tfrecords.command_line import UserError
from tfrecords.dataset import load
from tfrecords.reading import reading
from trainer import training_job
from trainer.scoring.metrics import Predictions
from trainer.training_job import TrainingJob


def load_model(job_dir: Path) -> keras.Model:
    """The model of the epoch that a job keeps.

    Raises:
      UserError: there is none yet, or its file is damaged.
    """
    path = job_dir / training_job.CHECKPOINT_FILE
    if not path.is_file():
        raise UserError(f"{path}: no model yet; training has not finished its first epoch")
    try:
        # Keras reads no further than it needs to, and then misses a checksum.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"bad checksum of {damaged}")
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be loaded ({str(error).splitlines()[0]}); train again") from None


def predict(job: TrainingJob, model: keras.Model, data_dir: str, parts: Sequence[str]) -> Predictions:
    """Probabilities for every patch of the parts, in the dataset's order.

    Raises:
      UserError: the dataset cannot be read, or holds no patch; the model's answer to a track is no number.
    """
    batches = load(
        data_dir,
        parts=parts,
        batch_size=max(256, job.batch_size),
        patch_frames=job.patch_frames,
        statistics=job.statistics,
    )
    probabilities, labels = [], []
    track_ids: list[str] = []
    with reading(data_dir, parts):
        for patches, batch_labels, batch_track_ids in batches.as_numpy_iterator():
            own = keras.ops.convert_to_numpy(model.predict_on_batch(patches))
            names = [example.to_text(track_id) for track_id in batch_track_ids]
            if not (finite := np.isfinite(own).all(axis=1)).all():
                raise UserError(
                    f"the model's answer to {names[int(finite.argmin())]!r} is no number; train again, with a lower "
                    "--learning_rate or --precision=float32"
                )
            probabilities.append(own)
            labels.append(batch_labels)
            track_ids.extend(names)
    return Predictions(
        probabilities=np.concatenate(probabilities).astype(np.float32),
        labels=np.concatenate(labels),
        track_ids=track_ids,
        label_names=job.labels,
    )
