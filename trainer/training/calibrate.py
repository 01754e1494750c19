"""What a trained model's answers are worth (trainer.evaluation.confidence), by tracks that it was not trained on.

Distances and probabilities both follow from the units that feed a model's last layer, which is a softmax on them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import scipy.special

from tfrecords import schema
from tfrecords.manifest import Manifest
from tfrecords.reader import load, raise_shard_errors
from trainer.evaluation.confidence import Confidence, Familiarity
from trainer.evaluation.predictions import load_model, with_units
from trainer.evaluation.summary import read_groups
from trainer.training_job import TrainingJob, count_patches

# Of a large dataset, about so many training patches tell what training music is like.
_MAX_PATCHES = 50_000
_BATCH = 256

# [patches, units] -> [patches, labels].
Head = Callable[[np.ndarray], np.ndarray]


class PatchUnits(NamedTuple):
    """What a network gives for the patches of some tracks.

    Attributes:
      units: [patches, units] float32.
      tracks: [patches] int64, the number of each patch's track.
      labels: [tracks] int64.
      groups: [tracks] str.
    """

    units: np.ndarray
    tracks: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def means(self, values: np.ndarray) -> np.ndarray:
        """Return [tracks, ...] float64, the means over each track's patches of [patches, ...]."""
        sums = np.zeros((len(self.labels), *values.shape[1:]))
        np.add.at(sums, self.tracks, values)
        return sums / self.counts.reshape(-1, *[1] * (values.ndim - 1))

    @property
    def counts(self) -> np.ndarray:
        """[tracks] int64, the number of each track's patches."""
        return np.bincount(self.tracks, minlength=len(self.labels))

    def familiarity(self) -> Familiarity:
        """Return what measures distances from these tracks."""
        return Familiarity.fit(self.units, self.labels[self.tracks], self.tracks)

    def distances(self, familiarity: Familiarity) -> np.ndarray:
        """Return the distances [tracks] of these tracks."""
        return familiarity.distances(self.means(self.units), self.counts)


def calibrate(job: TrainingJob, job_dir: Path) -> bool:
    """Write what the validation tracks say of a job's model; return False where there are none.

    Raises:
      UserError: a shard is corrupt, or a file cannot be written.
    """
    if not job.parts.valid:
        return False
    model = load_model(job_dir, job)
    kernel, bias = model.layers[-1].get_weights()
    network = keras.Model(model.inputs, with_units(model).outputs[1])
    train = run(network, job, job.parts.train, most=_MAX_PATCHES)
    held_out = run(network, job, job.parts.valid)
    from_validation(train, held_out, lambda units: scipy.special.softmax(units @ kernel + bias, axis=1), job_dir)
    return True


def from_validation(train: PatchUnits, held_out: PatchUnits, head: Head, job_dir: Path) -> None:
    """Fit to tracks that were held out, and write both files.

    Args:
      train: tracks that the model was trained on.
      held_out: others.
      head: the model's last layer.
      job_dir: where to write.
    """
    familiarity = train.familiarity()
    probabilities, distances = held_out.means(head(held_out.units)), held_out.distances(familiarity)
    write(job_dir, familiarity, Confidence.fit(probabilities, held_out.labels, held_out.groups.tolist(), distances))


def write(job_dir: Path, familiarity: Familiarity, confidence: Confidence) -> None:
    """Write both files; where the second one is, the first one is whole."""
    familiarity.save(job_dir)
    confidence.save(job_dir)


def run(network: keras.Model, job: TrainingJob, parts: tuple[str, ...], *, most: int | None = None) -> PatchUnits:
    """Return the units of the patches of parts, as evaluation cuts them.

    Args:
      network: normalised patches -> units.
      job: that trained it.
      parts: of its dataset.
      most: leave batches out, evenly, so that about so many patches are left.
    """
    manifest = Manifest.load(job.data_dir)
    groups = read_groups(manifest, job.data_dir, parts)
    patches = count_patches(manifest, parts, patch_frames=job.patch_frames, patch_mode=job.evaluation_mode)
    step = -(-patches // most) if most else 1
    batches = load(
        job.data_dir,
        parts=parts,
        batch_size=_BATCH,
        patch_frames=job.patch_frames,
        patch_mode=job.evaluation_mode,
        statistics=job.statistics,
    )
    units, tracks = [], []
    numbers: dict[str, int] = {}
    labels: dict[str, int] = {}
    with raise_shard_errors():
        for number, (batch, batch_labels, track_ids) in enumerate(batches.as_numpy_iterator()):
            if number % step:
                continue
            units.append(keras.ops.convert_to_numpy(network.predict_on_batch(batch)).astype(np.float32))
            names = [schema.to_text(track_id) for track_id in track_ids]
            labels |= dict(zip(names, batch_labels.tolist(), strict=True))
            tracks += [numbers.setdefault(name, len(numbers)) for name in names]
    return PatchUnits(
        np.concatenate(units),
        np.array(tracks, np.int64),
        np.array([labels[name] for name in numbers], np.int64),
        np.array([groups[name] for name in numbers]),
    )
