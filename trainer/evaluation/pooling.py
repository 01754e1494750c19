"""Out-of-fold predictions of a whole cross-validation, pooled: every track by models that never saw it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import Manifest, count_patches
from trainer import npz
from trainer.evaluation.cross_validation import Run
from trainer.evaluation.intervals import number_groups
from trainer.evaluation.metrics import TrackPredictions
from trainer.evaluation.saved_predictions import PREDICTIONS_FILE, to_bytes, to_texts

_TEXTS = ("track_ids", "groups", "label_names", "models")


@dataclasses.dataclass(frozen=True)
class Track:
    """A track of the dataset: the number of its label, its group and the number of its fold."""

    label: int
    group: str
    fold: int


@dataclasses.dataclass(frozen=True, eq=False)
class PooledPredictions:
    """Probabilities of every model and seed for every track; none was trained, or had its epoch chosen, on that track.

    `PooledPredictions.load(Path("CV/predictions.npz"))` reads those that trainer.cross_validate leaves in CV.

    Attributes:
      track_ids: [tracks], all different, in the dataset's order.
      labels: [tracks] int32, the true ones.
      groups: [tracks], the group (artist) of each, which lies in one fold.
      folds: [tracks] int32, the fold of each.
      label_names: [labels].
      models: [models].
      seeds: [seeds].
      probabilities: [models, seeds, tracks, labels] float32, finite, means over each track's patches.

    Raises:
      ValueError: a shape, a number or a label breaks these rules, or a track, model or seed is there twice.
    """

    track_ids: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str, ...]
    folds: np.ndarray
    label_names: tuple[str, ...]
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        for name in ("track_ids", "label_names", "models", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must be all different")
        tracks, labels = len(self.track_ids), len(self.label_names)
        shapes = {
            "labels": (tracks,),
            "folds": (tracks,),
            "probabilities": (len(self.models), len(self.seeds), tracks, labels),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be of shape {shape}, got {getattr(self, name).shape}")
        if len(self.groups) != tracks:
            raise ValueError(f"groups must be one for each of {tracks} tracks, got {len(self.groups)}")
        if tracks and not 0 <= self.labels.min() <= self.labels.max() < labels:
            raise ValueError(f"labels must be from 0 to {labels - 1}")
        if not np.isfinite(self.probabilities).all():
            raise ValueError("probabilities must be finite")

    @property
    def group_numbers(self) -> np.ndarray:
        """[tracks] int64: the group of each, as numbers from 0 on without a gap."""
        return number_groups(self.groups)

    @property
    def over_seeds(self) -> np.ndarray:
        """[models, tracks, labels] float64: the mean over the seeds."""
        return self.probabilities.mean(axis=1, dtype=np.float64)

    def only(self, track_ids: Sequence[str]) -> "PooledPredictions":
        """Return the predictions of some of the tracks, in the order given.

        Raises:
          KeyError: one of them is not there.
        """
        numbers = {track_id: number for number, track_id in enumerate(self.track_ids)}
        places = np.array([numbers[track_id] for track_id in track_ids], np.int64)
        return dataclasses.replace(
            self,
            track_ids=tuple(track_ids),
            labels=self.labels[places],
            groups=tuple(self.groups[place] for place in places),
            folds=self.folds[places],
            probabilities=self.probabilities[:, :, places],
        )

    def save(self, path: Path) -> None:
        """Write them to a file, whole or not at all; texts are UTF-8 bytes, so that any file name goes in.

        Raises:
          UserError: they cannot be written.
        """
        texts = {name: to_bytes(getattr(self, name)) for name in _TEXTS}
        arrays = {
            "labels": self.labels,
            "folds": self.folds,
            "seeds": np.array(self.seeds, np.int64),
            "probabilities": self.probabilities,
        }
        npz.save(path, arrays | texts)

    @classmethod
    def load(cls, path: Path) -> "PooledPredictions":
        """Read them from a file.

        Raises:
          UserError: the file is not there or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values: dict[str, Any] = {name: to_texts(arrays[name]) for name in _TEXTS}
                values |= {name: arrays[name] for name in ("labels", "folds", "probabilities")}
                return cls(**values, seeds=tuple(arrays["seeds"].tolist()))
        except npz.DAMAGED as error:
            raise UserError(
                f"{path}: not the predictions of a cross-validation ({error}); the command that made it writes it again"
            ) from None


def read_tracks(manifest: Manifest, data_dir: str | Path, *, patch_frames: int) -> dict[str, Track]:
    """Return every track that gives a patch, by its track_id, in the dataset's order; reads all records once.

    Raises:
      ShardError: a shard is missing, torn or corrupt.
      UserError: a track lies in two folds or has two labels.
    """
    tracks: dict[str, Track] = {}
    for fold, part in enumerate(manifest.parts):
        for record in Dataset(data_dir, manifest).records(part):
            if not count_patches(len(record.log_mel), patch_frames=patch_frames, patch_hop=patch_frames):
                continue
            track = Track(record.label, record.group, fold)
            if tracks.setdefault(record.track_id, track) != track:
                raise UserError(
                    f"{data_dir}: {record.track_id!r} has records of several folds, labels or groups; "
                    "write the dataset again"
                )
    return tracks


def pool(
    tracks: Mapping[str, Track], label_names: tuple[str, ...], predictions: Mapping[Run, TrackPredictions]
) -> PooledPredictions:
    """Put the predictions of all runs together.

    Args:
      tracks: of `read_tracks`.
      label_names: of the dataset.
      predictions: of each run's test fold; every combination of their models, seeds and folds is there.

    Raises:
      UserError: a run's predictions are not those of its fold's tracks, each once.
    """
    models = tuple(dict.fromkeys(run.model for run in predictions))
    seeds = tuple(dict.fromkeys(run.seed for run in predictions))
    numbers = {track_id: number for number, track_id in enumerate(tracks)}
    folds = np.array([track.fold for track in tracks.values()], np.int32)
    labels = np.array([track.label for track in tracks.values()], np.int32)
    probabilities = np.full((len(models), len(seeds), len(tracks), len(label_names)), np.nan, np.float32)
    for run, by_track in predictions.items():
        places = np.array([numbers.get(track_id, -1) for track_id in by_track.track_ids], np.int64)
        expected = np.flatnonzero(folds == run.fold)
        if not np.array_equal(np.sort(places), expected) or not np.array_equal(by_track.labels, labels[places]):
            raise UserError(
                f"{run}: its predictions are of {len(places)} tracks that are not the {len(expected)} of the fold; "
                f"delete its {run.job_dir(Path()) / PREDICTIONS_FILE}, and they are made again"
            )
        probabilities[models.index(run.model), seeds.index(run.seed), places] = by_track.mean_probabilities
    if np.isnan(probabilities).any():
        raise ValueError("every model, seed and fold must have a run")
    return PooledPredictions(
        track_ids=tuple(tracks),
        labels=labels,
        groups=tuple(track.group for track in tracks.values()),
        folds=folds,
        label_names=label_names,
        models=models,
        seeds=seeds,
        probabilities=probabilities,
    )
