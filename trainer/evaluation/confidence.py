"""What a model's answer to a track is worth: honest probabilities, a set of labels, whether it is sure, and whether the
track is of a kind that the model was trained on.

All of it is fitted once, after a training, to tracks that the model was not trained on, and lies beside the model:
confidence.json, and what distances are measured by in familiarity.npz.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from tfrecords.common import files, json_data
from tfrecords.common.command_line import UserError
from trainer import npz
from trainer.evaluation.calibration import Calibration, bound_reached, group_weights

CONFIDENCE_FILE, FAMILIARITY_FILE = "confidence.json", "familiarity.npz"
# Share of the sure answers that may be wrong, and of the tracks of new artists that may be taken for foreign.
_ERROR, _REFUSED = 1 / 3, 0.075
# More units would need more patches than there are, and gigabytes.
_MAX_UNITS = 512
# Of the mean variance, added to all; and what is added where no unit varies.
_SHRINKAGE, _LEAST_VARIANCE = 0.1, 1e-6


class Answer(NamedTuple):
    """A model's answer to a track, or to many.

    Attributes:
      probabilities: [..., labels] float64, calibrated; the likeliest label is the model's.
      in_set: [..., labels] bool, the labels of the prediction set, which holds the likeliest.
      sure: [...] bool, whether the answer is likely enough.
      familiar: [...] bool, whether the track is of a kind that the model was trained on; true where nobody measured it.
    """

    probabilities: np.ndarray
    in_set: np.ndarray
    sure: np.ndarray
    familiar: np.ndarray

    def label_set(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the labels of one track's prediction set, the likeliest first.

        Args:
          labels: [labels], the model's.
        """
        order = np.argsort(-self.probabilities, kind="stable").tolist()
        return tuple(labels[index] for index in order if self.in_set[index])


@dataclasses.dataclass(frozen=True)
class Confidence:
    """How a model's probabilities and distances become answers.

    Attributes:
      calibration: temperature and bound of the prediction sets.
      error: the share of sure answers that was meant to be wrong at most.
      sure_from: an answer is sure if its calibrated probability is at least this.
      farthest: a track is familiar if its distance (see Familiarity) is at most this; None: distances are not measured.

    Example:
      >>> calibration = Calibration(temperature=2.0, least_probability=0.3, coverage=0.9, tracks=50, groups=20)
      >>> answer = Confidence(calibration, error=0.25, sure_from=0.5, farthest=2.0).apply(np.array([0.8, 0.2]), 3.1)
      >>> answer.probabilities.round(2).tolist(), answer.in_set.tolist(), bool(answer.sure), bool(answer.familiar)
      ([0.67, 0.33], [True, True], True, False)
    """

    calibration: Calibration
    error: float
    sure_from: float
    farthest: float | None = None

    def __post_init__(self) -> None:
        for name in ("error", "sure_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.farthest is not None and not math.isfinite(self.farthest):
            raise ValueError(f"farthest must be finite, got {self.farthest}")

    @classmethod
    def fit(
        cls,
        probabilities: np.ndarray,
        labels: np.ndarray,
        groups: Sequence[str],
        distances: np.ndarray | None = None,
        *,
        error: float = _ERROR,
    ) -> Self:
        """Fit to tracks that the model was not trained on.

        Args:
          probabilities: [tracks >= 1, labels], means over each track's patches.
          labels: [tracks] integers, the true labels.
          groups: [tracks], the group (artist) of each.
          distances: [tracks], of Familiarity; None where they are not measured.
          error: the share of sure answers that may be wrong.

        Raises:
          ValueError: the shapes do not agree, or there is no track.
        """
        calibration, weights = Calibration.fit(probabilities, labels, groups), group_weights(groups)
        calibrated = calibration(probabilities)
        right = calibrated.argmax(axis=1) == np.asarray(labels)
        farthest = None
        if distances is not None:
            num_groups = len(set(groups))
            # Of few groups the farthest: it is no less than what the share asks for.
            share = min(1.0, (1 - _REFUSED) * (num_groups + 1) / num_groups)
            farthest = float(bound_reached(np.asarray(distances, np.float64), weights, share))
        return cls(calibration, error, _sure_from(calibrated.max(axis=1), right, weights, error), farthest)

    def apply(self, probabilities: np.ndarray, distances: np.ndarray | float | None = None) -> Answer:
        """Return the answers to tracks.

        Args:
          probabilities: [..., labels] of the model, means over each track's patches.
          distances: [...], of Familiarity; None where they are not known.
        """
        calibrated = self.calibration(probabilities)
        familiar = np.ones(calibrated.shape[:-1], bool)
        if distances is not None and self.farthest is not None:
            familiar = np.asarray(distances) <= self.farthest
        return Answer(
            calibrated, self.calibration.sets(calibrated), calibrated.max(axis=-1) >= self.sure_from, familiar
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as values that json.dumps takes."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Return what `to_json` gave.

        Raises:
          ValueError: a value is missing, of another type or out of range.
        """
        return json_data.build(cls, value)

    def save(self, job_dir: Path) -> None:
        """Write confidence.json, whole or not at all."""
        files.write_text(job_dir / CONFIDENCE_FILE, json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def load(cls, job_dir: Path) -> Self | None:
        """Read confidence.json; None where there is none, as in jobs of earlier versions or without validation.

        Raises:
          UserError: it cannot be read, or is damaged.
        """
        path = job_dir / CONFIDENCE_FILE
        try:
            return cls.from_json(json_data.parse(files.read_text(path)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UserError(
                f"{path}: not a model's confidence ({error}); delete it to do without, or train again"
            ) from None


def load_confidence(job_dir: Path) -> tuple[Confidence | None, "Familiarity | None"]:
    """Read both files of a job; None for what it has not.

    Raises:
      UserError: a file cannot be read, or is damaged.
    """
    confidence = Confidence.load(job_dir)
    measured = confidence is not None and confidence.farthest is not None
    return confidence, Familiarity.load(job_dir) if measured else None


def _sure_from(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray, error: float) -> float:
    """The lowest bound at which the answers that reach it are wrong at most so often; 1 where none is."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum((weights * ~right)[order]) / np.cumsum(weights[order])
    # Of equal ones, all or none reach a bound.
    last = np.append(np.diff(confidence[order]) != 0, True)
    if not (fits := np.flatnonzero((wrong <= error) & last)).size:
        return 1.0
    # Sure of all: a bound between them and less sure ones cannot be known.
    return 0.0 if fits[-1] == len(order) - 1 else float(confidence[order][fits[-1]])


@dataclasses.dataclass(frozen=True, eq=False)
class Familiarity:
    """How far a track lies from the training tracks, by the units that feed the model's last layer.

    The distance is the least squared one of the mean over the track's patches to a label's centre, along axes on which
    training patches of one label vary by 1, divided by the number of axes: the Mahalanobis distance of Lee, Lee, Lee
    and Shin, "A simple unified framework for detecting out-of-distribution samples and adversarial attacks", NeurIPS
    2018. The mean of few patches lies farther off by chance; what that is on average is taken away, so that short
    recordings are as familiar as long ones, and a distance may be below 0.

    Attributes:
      axes: [units, axes] float32, by which units are multiplied.
      centers: [labels, axes] float32.
      within: the mean variance of a training track's patches along an axis.
    """

    axes: np.ndarray
    centers: np.ndarray
    within: float

    def __post_init__(self) -> None:
        shapes = self.axes.shape, self.centers.shape
        if [len(shape) for shape in shapes] != [2, 2] or shapes[0][1] != shapes[1][1] or 0 in (*shapes[0], *shapes[1]):
            raise ValueError(f"axes must be [units, axes], centers [labels, axes]; got {shapes[0]}, {shapes[1]}")
        if not all(np.isfinite(values).all() for values in (self.axes, self.centers, self.within)):
            raise ValueError("axes, centers and within must be finite")

    @classmethod
    def fit(cls, units: np.ndarray, labels: np.ndarray, tracks: np.ndarray) -> Self:
        """Fit to patches that the model was trained on.

        Args:
          units: [patches >= 1, units]; of more than 512, so many are taken, evenly.
          labels: [patches] integers, the labels of their tracks.
          tracks: [patches] integers, their tracks.
        """
        chosen = np.unique(np.linspace(0, units.shape[1] - 1, _MAX_UNITS).astype(np.int64))
        every, units = units.shape[1], np.asarray(units[:, chosen], np.float64)
        means, numbers = _means_by(units, labels)
        around = units - means[numbers]
        covariance = around.T @ around / len(units)
        # Of few tracks, a covariance makes too much of the axes along which these happen to be alike.
        floor = _SHRINKAGE * np.trace(covariance) / len(covariance) + _LEAST_VARIANCE
        variances, directions = np.linalg.eigh(covariance + floor * np.eye(len(covariance)))
        own = directions / np.sqrt(variances)
        places = units @ own
        of_tracks, track_numbers = _means_by(places, tracks)
        squares = np.square(places - of_tracks[track_numbers]).mean(axis=1).sum()
        within = squares / max(1, len(units) - len(of_tracks))
        axes = np.zeros((every, len(chosen)), np.float32)
        axes[chosen] = own
        return cls(axes, (means @ own).astype(np.float32), float(within))

    def distances(self, means: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return [tracks] float64.

        Args:
          means: [tracks, units], the means of the units over each track's patches.
          counts: [tracks], how many patches each has, at least one.
        """
        places = np.asarray(means, np.float64) @ self.axes
        each = [np.square(places - center).mean(axis=1) for center in self.centers]
        return np.min(each, axis=0) - self.within / counts

    def save(self, directory: Path) -> None:
        """Write familiarity.npz, whole or not at all."""
        npz.save(directory / FAMILIARITY_FILE, {name: np.asarray(value) for name, value in vars(self).items()})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read familiarity.npz.

        Raises:
          UserError: it is not there, or damaged.
        """
        path = directory / FAMILIARITY_FILE
        try:
            with np.load(path, allow_pickle=False) as arrays:
                axes, centers = (np.asarray(arrays[name], np.float32) for name in ("axes", "centers"))
                return cls(axes, centers, float(arrays["within"]))
        except npz.DAMAGED as error:
            raise UserError(f"{path}: not what distances are measured by ({error}); train again") from None


def _means_by(values: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the means [names, ...] of the rows of each name, and the number of each row's name."""
    _, numbers = np.unique(names, return_inverse=True)
    sums = np.zeros((numbers.max() + 1, values.shape[1]))
    np.add.at(sums, numbers, values)
    return sums / np.bincount(numbers)[:, np.newaxis], numbers
