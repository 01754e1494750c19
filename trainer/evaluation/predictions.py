"""Loading a trained model, and running it over parts of a dataset."""

import json
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from tfrecords import schema
from tfrecords.common.command_line import UserError
from tfrecords.reader import load, raise_shard_errors
from trainer import training_job
from trainer.evaluation.confidence import Familiarity
from trainer.evaluation.metrics import Predictions
from trainer.training_job import TrainingJob

_LONGEST_REASON = 200


def load_model(job_dir: Path, job: TrainingJob | None = None) -> keras.Model:
    """Load the model of the epoch that a job keeps.

    Args:
      job_dir: directory of the job.
      job: the job's configuration, where the caller has already read it.

    Raises:
      UserError: there is none yet, its file is damaged, it needs a newer Keras, or it is not a model of this job.
    """
    job = job or TrainingJob.load(job_dir)
    path = job_dir / training_job.CHECKPOINT_FILE
    if not path.is_file():
        raise UserError(f"{path}: no model yet; training has not finished its first epoch")
    try:
        # Keras reads no further than it needs to, and then misses a checksum.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"bad checksum of {damaged}")
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # noqa: BLE001 - Keras builds what the file names, and so fails in any way.
        saved, installed = _keras_version(path), keras.version()
        if saved is not None and _numbers(saved) > _numbers(installed):
            raise UserError(
                f"{path}: the model was saved by Keras {saved}, and this is Keras {installed}: upgrade keras "
                "or train again"
            ) from None
        raise UserError(f"{path}: cannot be loaded ({_reason(error)}); train again") from None
    _check(path, job, model)
    return model


def _check(path: Path, job: TrainingJob, model: keras.Model) -> None:
    """Raise UserError unless a file's model is one that a training of this job can have left."""
    if not isinstance(model, keras.Model):
        raise UserError(f"{path}: holds a {type(model).__name__}, not a model; train again")
    try:
        job.check_shapes(model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if getattr(model.layers[-1], "activation", None) is not keras.activations.softmax:
        raise UserError(f"{path}: the model does not end with a softmax, so it gives no probabilities; train again")
    for weights in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weights)).all():
            raise UserError(f"{path}: {weights.path} holds numbers that are not finite; train again")


def _keras_version(path: Path) -> str | None:
    """The version of Keras that wrote a file, None where it does not say."""
    try:
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    return version if isinstance(version, str) and re.fullmatch(r"[\w.+-]+", version) else None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _reason(error: Exception) -> str:
    """The cause in one line; Keras writes advice and the whole configuration before it."""
    text = str(error).rpartition("Exception encountered: ")[2].strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."


def predict(
    job: TrainingJob,
    model: keras.Model,
    data_dir: str,
    parts: Sequence[str],
    *,
    familiarity: Familiarity | None = None,
) -> Predictions:
    """Predict every patch of the parts, in the dataset's order.

    Args:
      job: that trained the model.
      model: normalised patches -> probabilities.
      data_dir: of the dataset.
      parts: of the dataset.
      familiarity: measures the tracks' distances, if there is one.

    Raises:
      UserError: the dataset cannot be read, or holds no patch; the model's answer to a track is no number.
    """
    batches = load(
        data_dir,
        parts=parts,
        batch_size=max(256, job.batch_size),
        patch_frames=job.patch_frames,
        patch_mode=job.evaluation_mode,
        statistics=job.statistics,
    )
    network = model if familiarity is None else with_units(model)
    probabilities, labels = [], []
    means = TrackMeans()
    track_ids: list[str] = []
    with raise_shard_errors():
        for patches, batch_labels, batch_track_ids in batches.as_numpy_iterator():
            names = [schema.to_text(track_id) for track_id in batch_track_ids]
            outputs = network.predict_on_batch(patches)
            if familiarity is not None:
                outputs, units = outputs
                means.add(names, keras.ops.convert_to_numpy(units))
            outputs = keras.ops.convert_to_numpy(outputs)
            if not (finite := np.isfinite(outputs).all(axis=1)).all():
                raise UserError(
                    f"the model's answer to {names[int(finite.argmin())]!r} is no number; train again, with a lower "
                    "`learning_rate` or `precision=float32`"
                )
            probabilities.append(outputs)
            labels.append(batch_labels)
            track_ids.extend(names)
    return Predictions(
        probabilities=np.concatenate(probabilities).astype(np.float32),
        labels=np.concatenate(labels),
        track_ids=track_ids,
        label_names=job.labels,
        distances=None if familiarity is None else means.distances(familiarity),
    )


class TrackMeans:
    """The means of units over each track's patches, which come in batches."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}
        self._counts: Counter[str] = Counter()

    def add(self, track_ids: Sequence[str], units: np.ndarray) -> None:
        """Add patches [patches, units] of tracks."""
        for track_id, row in zip(track_ids, units.astype(np.float64), strict=True):
            self._sums[track_id] = self._sums.get(track_id, 0) + row
        self._counts.update(track_ids)

    def distances(self, familiarity: Familiarity) -> dict[str, float]:
        """Return track id -> distance."""
        counts = np.array([self._counts[track_id] for track_id in self._sums])
        means = np.stack(list(self._sums.values())) / counts[:, np.newaxis]
        return dict(zip(self._sums, familiarity.distances(means, counts).tolist(), strict=True))


def with_units(model: keras.Model) -> keras.Model:
    """Return a model that gives its probabilities, and the units that feed its last layer."""
    return keras.Model(model.inputs, [model.outputs[0], model.layers[-1].input])
