"""Several datasets as one, by weights."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrecords.command_line import UserError

# Choices drawn at once; part of what decides them.
_BLOCK = 1024


def mix(
    datasets: Sequence[tf.data.Dataset], weights: Sequence[float], *, seed: int = 0, step: int = 0
) -> tf.data.Dataset:
    """Takes each element from one of several datasets, drawn by their weights; ends when the one drawn has ended.

    Which is drawn is a function of (seed, number of the element). The elements are batches: for batches in which
    patches of several datasets meet, load them with small batches and `rebatch` the mixture.

    Args:
      datasets: of like elements; without end (`load(epochs=None)`) for a mixture without end.
      weights: how often each is drawn, relative to the others.
      seed: changes the choices.
      step: elements of the mixture that are left out at its start; each dataset has to be loaded with the `step` that
        `mixed_steps` says.

    Raises:
      UserError: not a weight for each dataset, or weights that are negative or all 0.
    """
    edges = _edges(weights)
    if len(datasets) != len(weights):
        raise UserError(f"a mixture needs a weight for each dataset, got {len(weights)} for {len(datasets)}")
    blocks = tf.data.Dataset.range(step // _BLOCK, int(tf.int64.max))
    choices = blocks.map(lambda block: _choices(edges, seed, block)).unbatch().skip(step % _BLOCK)
    return tf.data.Dataset.choose_from_datasets(list(datasets), choices, stop_on_empty_dataset=True)


def mixed_steps(weights: Sequence[float], *, seed: int = 0, step: int) -> list[int]:
    """How many of the first `step` elements of a mixture come from each dataset.

    Raises:
      UserError: weights that are negative or all 0.
    """
    edges = _edges(weights)
    counts = np.zeros(len(weights), np.int64)
    for block in range(-(-step // _BLOCK)):
        choices = _choices(edges, seed, tf.constant(block, tf.int64)).numpy()[: step - block * _BLOCK]
        counts += np.bincount(choices, minlength=len(weights))
    return counts.tolist()


def _edges(weights: Sequence[float]) -> np.ndarray:
    """Where one dataset's share of [0, 1) ends and the next one's begins."""
    values = np.asarray(weights, np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
        raise UserError(f"weights must not be negative, nor all 0, got {list(weights)}")
    shares = np.cumsum(values / values.sum())
    # A last share of 0 is not to be drawn because the sum of the others was rounded down.
    shares[np.flatnonzero(values)[-1] :] = 1
    return shares[:-1]


def _choices(edges: np.ndarray, seed: int, block: tf.Tensor) -> tf.Tensor:
    """Indices of datasets, [_BLOCK] int64."""
    order = tf.stack([tf.constant(seed, tf.int64), block])
    uniform = tf.random.stateless_uniform([_BLOCK], order, dtype=tf.float64)
    return tf.searchsorted(tf.constant(edges, tf.float64), uniform, side="right", out_type=tf.int64)
