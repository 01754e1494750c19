"""95 % intervals of accuracies and of their differences.

Where groups are known (the artists), tracks of one group are no independent trials, and the interval is a bootstrap
over groups (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: percentile intervals; over
clusters: Field and Welsh, Bootstrapping clustered data, JRSS B 69(3), 2007). As many groups as there are get drawn with
replacement, each with all its tracks; the accuracy of a draw is the share of right answers among its tracks. All models
are scored on the same draws, so a difference is that of paired scores.

What varies between the draws is which groups there are. The models stay as they were trained, so the intervals say
nothing of other trainings; and tracks that are all right, or all wrong, give an interval without width.

The accuracy of an evaluation has Wilson's interval with the number of groups as the number of trials where there are
fewer than MIN_GROUPS of them or the bootstrap has no width: draws of so few, or of equal ones, vary too little. Where
its groups are not known, it has Wilson's interval over tracks.
"""

import math
import statistics
from collections.abc import Sequence

import numpy as np

DRAWS = 10_000
MIN_GROUPS = 10
_LEVEL = 0.95
_BLOCK_NUMBERS = 4_000_000


def number_groups(groups: Sequence[str]) -> np.ndarray:
    """Return [tracks] int64, the groups' names as numbers from 0 on without a gap.

    Example:
      >>> number_groups(["Abba", "Blur", "Abba"]).tolist()
      [0, 1, 0]
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups], np.int64)


def bootstrap(right: np.ndarray, groups: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Return accuracies on resampled groups.

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
    blocks = [_drawn_sums(rng, sums, min(block, draws - begin)) for begin in range(0, draws, block)]
    totals = np.concatenate(blocks)
    return totals[:, :-1] / totals[:, -1:]


def _drawn_sums(rng: np.random.Generator, sums: np.ndarray, draws: int) -> np.ndarray:
    """[draws, columns]: the sums over as many rows as there are, drawn with replacement."""
    count = len(sums)
    rows = rng.integers(count, size=(draws, count))
    places = (rows + count * np.arange(draws)[:, np.newaxis]).ravel()
    times = np.bincount(places, minlength=draws * count).reshape(draws, count)
    return times @ sums


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval (low, high) of [draws] accuracies or differences."""
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def wilson_interval(successes: float, total: int, confidence: float = _LEVEL) -> tuple[float, float]:
    """Return the score interval (low, high) of a proportion, each in 0 ... 1.

    Unlike p +/- z s, it is right for few trials and for shares near 0 or 1. It takes the trials as independent.

    Args:
      successes: of the trials; a fraction where the proportion is of something else than the trials.
      total: how many trials there are.
      confidence: of the interval.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (158), 1927, pp. 209-212.

    Raises:
      ValueError: total < 1, successes outside 0 ... total, or confidence outside the open interval (0, 1).

    Example:
      >>> [round(end, 4) for end in wilson_interval(45, 90)]
      [0.3988, 0.6012]
    """
    if total < 1 or not 0 <= successes <= total:
        raise ValueError(f"successes must be in 0 ... total, total at least 1; got {successes} of {total}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1; got {confidence}")
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = successes / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    # Rounding must not move the ends that are exactly 0 or 1, nor leave the range.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return low, high
