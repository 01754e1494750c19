"""The loss of labels that count differently, and the macro scores, by which validation may choose the epoch."""

from typing import Any

import keras
import numpy as np
from keras import ops

RECALL, F1 = "macro_recall", "macro_f1"


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Return a weight for each label, inversely proportional to how often it occurs.

    The mean over all that is counted is 1 (scikit-learn's class_weight="balanced", where every label occurs).

    Args:
      counts: [labels]; a label that does not occur has the weight 0.

    Returns:
      [labels] float64.

    Example:
      >>> balanced_weights(np.array([30, 10, 0])).round(3).tolist()
      [0.667, 2.0, 0.0]
    """
    counts = np.asarray(counts, np.float64)
    occurs = counts > 0
    return np.where(occurs, counts.sum() / (occurs.sum() * np.maximum(counts, 1)), 0)


class WeightedCrossentropy(keras.losses.CategoricalCrossentropy):
    """Crossentropy of labels [batch, labels] whose rows sum to the weights of their patches.

    Keras' own takes rows for shares that sum to 1: with TensorFlow, the gradient would be another.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return [batch], the crossentropy of each row, times its weight."""
        weights = ops.sum(y_true, axis=-1)
        # A row that only fills a batch up is all 0.
        shares = y_true / ops.maximum(weights, keras.config.epsilon())[..., None]
        return weights * super().call(shares, y_pred)


class MacroScore(keras.metrics.Metric):
    """The mean over labels of their recall or F1, of all batches so far, each patch counted once.

    Recall is averaged over the labels that patches have, F1 over those that patches have or are given, as in
    trainer.evaluation.metrics.
    """

    def __init__(self, name: str, *, num_labels: int, dtype: Any = None) -> None:
        """Takes its name, RECALL or F1."""
        super().__init__(name=name, dtype=dtype)
        self.confusion = self.add_variable((num_labels, num_labels), initializer="zeros", name="confusion")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: y_true [batch] or [batch, labels], y_pred [batch, labels]."""
        self.confusion.assign_add(confusion(y_true, y_pred))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make it again."""
        return super().get_config() | {"num_labels": self.confusion.shape[0]}

    def result(self) -> Any:
        """Return the score, from 0 to 1."""
        right, true, given = ops.diagonal(self.confusion), ops.sum(self.confusion, 1), ops.sum(self.confusion, 0)
        counted, scores = true, right / ops.maximum(true, 1)
        if self.name == F1:
            counted = true + given
            scores = 2 * right / ops.maximum(counted, 1)
        occurs = ops.cast(counted > 0, scores.dtype)
        return ops.sum(scores * occurs) / ops.maximum(ops.sum(occurs), 1)


def confusion(labels: Any, probabilities: Any, counted: Any = None) -> Any:
    """Return how many rows have which label and are given which, [labels, labels] float32.

    Args:
      labels: [batch], or [batch, labels], of which the largest is meant.
      probabilities: [batch, labels].
      counted: [batch], 1 for rows that count and 0 for others; None: all do.
    """
    count = probabilities.shape[-1]
    true = ops.one_hot(ops.argmax(labels, axis=-1) if len(labels.shape) == 2 else labels, count, dtype="float32")
    given = ops.one_hot(ops.argmax(probabilities, axis=-1), count, dtype="float32")
    return ops.transpose(true if counted is None else true * counted[:, None]) @ given
