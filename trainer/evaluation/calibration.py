"""How far a model's probabilities can be trusted: temperature, calibration error and prediction sets.

All is of whole tracks: a track's probabilities are the mean over its patches. What is fitted is fitted to validation
tracks alone. Tracks of one group (artist) are no independent trials, so each group counts as one, however many tracks
it has.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

BINS = 15
_COVERAGE = 0.9
# Probabilities below this are taken for it, as float32 softmax gives zeros.
_LEAST = 1e-7
_TEMPERATURES = (0.05, 20.0)
# Standard deviation of the logarithm of temperatures, before any track is seen: few artists tell little.
_PRIOR = 0.5
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What makes a model's probabilities honest, fitted to tracks that it was not trained on.

    Attributes:
      temperature: calibrated probabilities are softmax(log(probabilities) / temperature); above 1 they are less sure.
      least_probability: a label belongs to the prediction set if its calibrated probability is at least this.
      coverage: the share of new artists' tracks, in 0 ... 1, whose label the set is meant to hold.
      tracks: how many it was fitted to.
      groups: how many groups (artists) these are by.
    """

    temperature: float
    least_probability: float
    coverage: float
    tracks: int
    groups: int

    def __post_init__(self) -> None:
        if not _TEMPERATURES[0] <= self.temperature <= _TEMPERATURES[1]:
            raise ValueError(f"temperature must be from {_TEMPERATURES[0]} to {_TEMPERATURES[1]}")
        for name in ("least_probability", "coverage"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if not 1 <= self.groups <= self.tracks:
            raise ValueError(f"there must be at least one group, and no more than tracks; got {self.groups}")

    @classmethod
    def fit(
        cls, probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[str], *, coverage: float = _COVERAGE
    ) -> Self:
        """Fit to validation tracks.

        The temperature is the likeliest one, with a prior around 1 that counts where there are few groups (Guo, Pleiss,
        Sun and Weinberger, "On calibration of modern neural networks", ICML 2017); the sets are split conformal ones
        (Sadinle, Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", JASA 114,
        2019).

        Args:
          probabilities: [tracks >= 1, labels].
          labels: [tracks] integers, the true labels.
          groups: [tracks], the group (artist) of each; of the track alone where none is known.
          coverage: the share of new artists' tracks whose label a set should hold.

        Raises:
          ValueError: the shapes do not agree, or there is no track.

        Example:
          >>> sure = np.array([[0.99, 0.01], [0.98, 0.02], [0.01, 0.99], [0.98, 0.02]])
          >>> Calibration.fit(sure, np.array([0, 0, 1, 1]), ["A", "B", "C", "D"]).temperature > 1.5
          True
        """
        probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
        if probabilities.ndim != 2 or not len(labels) or labels.shape != probabilities.shape[:1]:
            raise ValueError(
                f"probabilities must be [tracks >= 1, labels], labels [tracks]; got {probabilities.shape}, "
                f"{labels.shape}"
            )
        weights = group_weights(groups)
        num_groups = len(set(groups))
        temperature = _best_temperature(probabilities, labels, weights, num_groups)
        of_true = scale(probabilities, temperature)[np.arange(len(labels)), labels]
        return cls(
            temperature=temperature,
            least_probability=_least_probability(of_true, weights, num_groups, coverage),
            coverage=coverage,
            tracks=len(labels),
            groups=num_groups,
        )

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities [..., labels] float64 of a model's."""
        return scale(probabilities, self.temperature)

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return [..., labels] bool, the labels of each prediction set: never none, for the likeliest is always in it.

        Args:
          probabilities: [..., labels], calibrated.
        """
        likeliest = np.asarray(probabilities).argmax(axis=-1)[..., np.newaxis] == np.arange(probabilities.shape[-1])
        return (np.asarray(probabilities) >= self.least_probability) | likeliest

    def to_json(self) -> dict[str, Any]:
        """Return it as values that json.dumps takes."""
        return dataclasses.asdict(self)


def scale(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(log(probabilities) / temperature), float64 of the same shape.

    Example:
      >>> scale(np.array([0.8, 0.2]), 2.0).round(3).tolist()
      [0.667, 0.333]
    """
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def group_weights(groups: Sequence[str]) -> np.ndarray:
    """Return [tracks] float64 that sum to 1: every group has the same weight, shared by its tracks.

    Example:
      >>> group_weights(["Abba", "Abba", "Blur"]).tolist()
      [0.25, 0.25, 0.5]
    """
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    return np.array([1 / (sizes[group] * len(sizes)) for group in groups])


def reliability(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> list[dict[str, float | int]]:
    """Return how often the answers of each range of confidence are right: the rows of a reliability diagram.

    Args:
      probabilities: [tracks, labels].
      labels: [tracks] integers, the true labels.
      bins: number of ranges of equal width from 0 to 1.

    Returns:
      [{low, high, tracks, confidence, accuracy}] of the ranges that hold a track, confidence the mean of the highest
      probabilities.
    """
    confidence = np.asarray(probabilities).max(axis=1)
    right = np.asarray(probabilities).argmax(axis=1) == np.asarray(labels)
    numbers = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return [
        {
            "low": number / bins,
            "high": (number + 1) / bins,
            "tracks": int(own.sum()),
            "confidence": float(confidence[own].mean()),
            "accuracy": float(right[own].mean()),
        }
        for number in range(bins)
        if (own := numbers == number).any()
    ]


def calibration_error(rows: Sequence[Mapping[str, float | int]]) -> float:
    """Return the expected calibration error: the mean over tracks of |accuracy - confidence| of their range.

    Source: M. P. Naeini, G. F. Cooper and M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI 2015.

    Args:
      rows: of `reliability`, at least one.
    """
    total = sum(row["tracks"] for row in rows)
    return sum(row["tracks"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / total


def _best_temperature(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray, num_groups: int) -> float:
    """Golden-section search on the logarithm: the likelihood has one maximum in 1 / temperature."""

    def loss(log_temperature: float) -> float:
        of_true = scale(probabilities, math.exp(log_temperature))[np.arange(len(labels)), labels]
        prior = log_temperature**2 / (2 * _PRIOR**2 * num_groups)
        return prior - float(weights @ np.log(np.maximum(of_true, _LEAST)))

    low, high = map(math.log, _TEMPERATURES)
    while high - low > 1e-4:
        one, other = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, other) if loss(one) <= loss(other) else (one, high)
    return min(max(math.exp((low + high) / 2), _TEMPERATURES[0]), _TEMPERATURES[1])


def _least_probability(of_true: np.ndarray, weights: np.ndarray, num_groups: int, coverage: float) -> float:
    """The highest bound that the true labels' probabilities reach often enough, a new group being one more of them."""
    share = (num_groups + 1) * coverage / num_groups
    return 0.0 if share > 1 else float(-bound_reached(-of_true, weights, share))


def bound_reached(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """Return the value up to which a share of the weights lies, between two values in proportion.

    Args:
      values: [n >= 1].
      weights: [n], above 0, that sum to 1.
      share: in 0 ... 1.

    Example:
      >>> bound_reached(np.array([1.0, 2.0, 4.0, 3.0]), np.full(4, 0.25), 0.875)
      3.5
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # Sums of weights are not exact.
    return float(np.interp(share, reached / reached[-1], values[order]))
