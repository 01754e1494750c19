"""Tracks whose label is most likely wrong, by confident learning on the predictions of a cross-validation.

Source: C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident learning: estimating uncertainty in dataset labels",
Journal of Artificial Intelligence Research 70, 2021, pp. 1373-1411. Every track is judged by models that were trained
without it. A label's threshold is the mean probability that its own tracks are given of it; a track that reaches the
threshold of another label, and not more surely that of its own, counts as one of that label. As many tracks as count
so are suspects: those that are given the least of their own label, each probability taken as a share of its label's
threshold, so that a label the models favour does not make suspects of all others.

Two changes to the source. Where the artist or another group of each track is known, the labels of its other tracks
count as well, by Laplace's rule: of n other tracks, k with a label, its probability is taken times (k + 1) / (n +
labels). An error of a single track of an artist is then found far more often, one of all of them less often.
And the list is ordered by the probability of the own label, not by the margin to another, which finds fewer.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from trainer.evaluation.intervals import number_groups

_LEAST_THRESHOLD = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class LabelErrors:
    """How likely the label of each track is wrong.

    Attributes:
      confident_joint: [labels given, labels meant] int64, tracks that surely are of a label, by the label they have.
      suggested: [tracks] int64, the label other than its own that each track is most likely of.
      suspicion: [tracks] float64, from 0 to 1; the higher, the more likely the label is wrong.
      is_suspect: [tracks] bool, whether the track is one of the most suspicious, as many as count as of another label.
    """

    confident_joint: np.ndarray
    suggested: np.ndarray
    suspicion: np.ndarray
    is_suspect: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """[tracks] int64, the numbers of the tracks, suspects first and by falling suspicion."""
        return np.lexsort((-self.suspicion, ~self.is_suspect))


def find_label_errors(
    probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[str] | None = None
) -> LabelErrors:
    """Judge the label of every track.

    Args:
      probabilities: [tracks, labels], finite, of models that were not trained on the track.
      labels: [tracks] integers, the labels that the tracks have.
      groups: [tracks], the artist or other group of each; None where they are not known.

    Raises:
      ValueError: the shapes do not agree, there are fewer than two labels, or a label is out of range.

    Example:
      >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.9, 0.1]])
      >>> found = find_label_errors(probabilities, np.array([0, 0, 1, 1]))
      >>> np.flatnonzero(found.is_suspect), found.confident_joint.tolist()
      (array([3]), [[1, 0], [1, 1]])
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities must be [tracks, labels >= 2], labels [tracks]; got {probabilities.shape}, {labels.shape}"
        )
    count = probabilities.shape[1]
    if labels.size and not 0 <= labels.min() <= labels.max() < count:
        raise ValueError(f"labels must be from 0 to {count - 1}, got {labels.min()} to {labels.max()}")
    if groups is not None:
        probabilities = _with_groups(probabilities, labels, groups)
    # Nothing reaches the threshold of a label without tracks.
    thresholds = np.array(
        [probabilities[labels == label, label].mean() if (labels == label).any() else np.inf for label in range(count)]
    )
    reached = probabilities >= thresholds
    surest, sure = np.where(reached, probabilities, -1).argmax(axis=1), reached.any(axis=1)
    joint = np.bincount(labels[sure] * count + surest[sure], minlength=count * count).reshape(count, count)
    shares = probabilities / np.maximum(thresholds, _LEAST_THRESHOLD)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), _LEAST_THRESHOLD)
    own = np.eye(count, dtype=bool)[labels]
    suspicion = 1 - shares[own]
    others = np.where(own, -1, shares)
    is_suspect = np.zeros(len(labels), bool)
    is_suspect[np.argsort(-suspicion, kind="stable")[: joint.sum() - np.trace(joint)]] = True
    # A track of no clear label may be given little of its own, and less of every other.
    is_suspect &= others.max(axis=1) > shares[own]
    return LabelErrors(joint, others.argmax(axis=1), suspicion, is_suspect)


def _with_groups(probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Return the probabilities with what the labels of each track's group say, but for its own; rows sum to 1."""
    if len(groups) != len(labels):
        raise ValueError(f"groups must be one for each of {len(labels)} tracks, got {len(groups)}")
    numbers, tracks = number_groups(groups), np.arange(len(labels))
    counts = np.zeros((len(labels), probabilities.shape[1]))
    np.add.at(counts, (numbers, labels), 1)
    others = counts[numbers]
    others[tracks, labels] -= 1
    weighted = probabilities * (others + 1) / (others.sum(axis=1, keepdims=True) + probabilities.shape[1])
    return weighted / np.maximum(weighted.sum(axis=1, keepdims=True), _LEAST_THRESHOLD)
