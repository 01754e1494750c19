"""Tracks whose label is most likely wrong, by confident learning on the predictions of a cross-validation.

Source: C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident learning: estimating uncertainty in dataset labels",
Journal of Artificial Intelligence Research 70, 2021, pp. 1373-1411. Every track is judged by models that were trained
without it. A label's threshold is the mean probability that its own tracks are given of it; a track that reaches the
threshold of another label, and not more surely that of its own, counts as one of that label.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class LabelErrors:
    """How likely the label of each track is wrong.

    Attributes:
      confident_joint: [labels given, labels meant] int64, tracks that surely are of a label, by the label they have.
      suggested: [tracks] int64, the label other than its own that each track is most likely of.
      suspicion: [tracks] float64, by how much the suggested label exceeds its own, each less its threshold; the higher,
        the more likely the label is wrong.
      is_suspect: [tracks] bool, whether the track counts as one of another label.
    """

    confident_joint: np.ndarray
    suggested: np.ndarray
    suspicion: np.ndarray
    is_suspect: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """[tracks] int64, the numbers of the tracks, suspects first and by falling suspicion."""
        return np.lexsort((-self.suspicion, ~self.is_suspect))


def find_label_errors(probabilities: np.ndarray, labels: np.ndarray) -> LabelErrors:
    """Judge the label of every track.

    Args:
      probabilities: [tracks, labels], finite, of models that were not trained on the track.
      labels: [tracks] integers, the labels that the tracks have.

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
    tracks = np.arange(len(labels))
    # Nothing reaches the threshold of a label without tracks.
    thresholds = np.array(
        [probabilities[labels == label, label].mean() if (labels == label).any() else np.inf for label in range(count)]
    )
    reached = probabilities >= thresholds
    surest = np.where(reached, probabilities, -1).argmax(axis=1)
    sure = reached.any(axis=1)
    joint = np.bincount(labels[sure] * count + surest[sure], minlength=count * count).reshape(count, count)
    margins = probabilities - np.where(np.isfinite(thresholds), thresholds, 1)
    others = margins.copy()
    others[tracks, labels] = -np.inf
    suggested = np.where(sure & (surest != labels), surest, others.argmax(axis=1))
    return LabelErrors(
        confident_joint=joint,
        suggested=suggested,
        suspicion=margins[tracks, suggested] - margins[tracks, labels],
        is_suspect=sure & (surest != labels),
    )
