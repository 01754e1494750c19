"""How sure an accuracy is, and the difference between two, when tracks of one group are no independent trials.

The bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: percentile intervals) draws as
many groups as there are, with replacement, each with all its tracks (the cluster bootstrap: Field and Welsh,
Bootstrapping clustered data, JRSS B 69(3), 2007), and takes the share of right answers among the tracks drawn. All
models are scored on the same draws, so a difference is that of paired scores.

What varies between the draws is which groups there are. The models stay as they were trained, so the intervals say
nothing of other trainings; and tracks that are all right, or all wrong, give an interval without width.
"""

import numpy as np

DRAWS = 10_000
_LEVEL = 0.95
_BLOCK_NUMBERS = 4_000_000


def bootstrap(right: np.ndarray, groups: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Accuracies on resampled groups.

    Args:
      right: [models, tracks] bool, whether each model recognised each track.
      groups: [tracks] integers, the group of each track: 0 ... groups - 1, each at least once.
      draws: how often the groups are drawn.
      seed: of the draws, which depend on nothing else but the number of groups.

    Returns:
      [draws, models] float64.

    Raises:
      ValueError: the shapes do not agree, or a number has no track.
    """
    right, groups = np.asarray(right, np.float64), np.asarray(groups)
    if right.ndim != 2 or groups.shape != right.shape[1:] or not groups.size:
        raise ValueError(f"right must be [models, tracks >= 1] and groups [tracks]; got {right.shape}, {groups.shape}")
    sizes = np.bincount(groups)
    if not sizes.all():
        raise ValueError(f"groups must be numbered without a gap; {int(np.argmin(sizes))} has no track")
    # A row per group: its right answers for each model, then its tracks.
    sums = np.stack([*(np.bincount(groups, weights=row) for row in right), sizes], axis=1)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_NUMBERS // len(sizes))
    drawn = [_drawn_sums(rng, sums, min(block, draws - begin)) for begin in range(0, draws, block)]
    totals = np.concatenate(drawn)
    return totals[:, :-1] / totals[:, -1:]


def _drawn_sums(rng: np.random.Generator, sums: np.ndarray, draws: int) -> np.ndarray:
    """[draws, columns]: the sums over as many rows as there are, drawn with replacement."""
    count = len(sums)
    rows = rng.integers(count, size=(draws, count))
    places = (rows + count * np.arange(draws)[:, np.newaxis]).ravel()
    times = np.bincount(places, minlength=draws * count).reshape(draws, count)
    return times @ sums


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of [draws] accuracies or differences."""
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
