"""How honest a model's probabilities and answers have been on tracks whose labels are known.

Calibration errors of few tracks are noisy, and never 0: beside one stands what probabilities that are right would have
by chance, and one that is corrected for it.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.evaluation.calibration import BINS, calibration_error, group_weights, reliability
from trainer.evaluation.confidence import Answer, Confidence

_DRAWS = 1000
# Ranges of equal numbers of tracks have at least so many each.
_LEAST_TRACKS = 10
_ROWS_SHOWN = 8


def measure(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return the calibration of the likeliest labels' probabilities.

    Args:
      probabilities: [tracks >= 1, labels].
      labels: [tracks] integers, the true labels.

    Returns:
      confidence: the mean of the highest probabilities.
      accuracy: the share of tracks whose likeliest label is right.
      error: expected calibration error, of 15 ranges of equal width (`calibration_error`).
      error_by_chance: {mean, high}, what this error would be, and exceed in one of 40 cases, were the probabilities
        right: simulated.
      corrected_error: root of the mean squared error, corrected for what it has by chance (`corrected_error`).
      rows: of a reliability diagram, ranges of equal numbers of tracks.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    return {
        "confidence": float(confidence.mean()),
        "accuracy": float(right.mean()),
        "error": calibration_error(reliability(probabilities, labels)),
        "error_by_chance": error_by_chance(confidence),
        "corrected_error": corrected_error(confidence, right),
        "rows": equal_rows(confidence, right, bins=_ROWS_SHOWN),
    }


def error_by_chance(confidence: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """Return mean and 97.5 % point (high) of the calibration error that probabilities have which are right.

    Args:
      confidence: [tracks], probabilities of the likeliest labels, which are drawn to be right so often.
      seed: of the draws.

    Example:
      >>> error_by_chance(np.full(100_000, 0.7))["high"] < 0.01 < error_by_chance(np.full(100, 0.7))["mean"]
      True
    """
    rng = np.random.default_rng(seed)
    numbers = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    errors = np.zeros(_DRAWS)
    for draw in range(_DRAWS):
        gaps = np.bincount(numbers, (rng.random(len(confidence)) < confidence) - confidence, minlength=BINS)
        errors[draw] = np.abs(gaps).sum() / len(confidence)
    return {"mean": float(errors.mean()), "high": float(np.quantile(errors, 0.975))}


def corrected_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the root of the mean squared calibration error, less what it has by chance; at least 0.

    The likeliest labels' probabilities are put into 15 ranges of equal numbers of tracks, of fewer tracks fewer. It is
    no less than the expected calibration error of the same ranges would be on ever more tracks.

    Source: A. Kumar, P. Liang and T. Ma, "Verified uncertainty calibration", NeurIPS 2019, the debiased estimator.

    Args:
      confidence: [tracks].
      right: [tracks] bool, whether the likeliest label is the true one.

    Example:
      >>> right = np.arange(1000) % 10 < 7
      >>> corrected_error(np.full(1000, 0.7), right), round(corrected_error(np.full(1000, 0.9), right), 1)
      (0.0, 0.2)
    """
    total = 0.0
    for row in equal_rows(confidence, right, bins=BINS):
        # The variance of a mean, as far as so few tracks tell it.
        by_chance = row["accuracy"] * (1 - row["accuracy"]) / max(1, row["tracks"] - 1)
        total += row["tracks"] * ((row["accuracy"] - row["confidence"]) ** 2 - by_chance)
    return math.sqrt(max(0.0, total / len(confidence)))


def equal_rows(confidence: np.ndarray, right: np.ndarray, *, bins: int) -> list[dict[str, Any]]:
    """Return [{tracks, confidence, accuracy}] of ranges of about equal numbers of tracks, at least 10 of them each.

    Args:
      confidence: [tracks >= 1].
      right: [tracks] bool.
      bins: ranges at most.
    """
    parts = np.array_split(np.argsort(confidence, kind="stable"), max(1, min(bins, len(confidence) // _LEAST_TRACKS)))
    return [
        {"tracks": len(own), "confidence": float(confidence[own].mean()), "accuracy": float(right[own].mean())}
        for own in parts
    ]


def assess(
    confidence: Confidence | None,
    answer: Answer | None,
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
) -> dict[str, Any]:
    """Return how honest answers have been.

    Args:
      confidence: what the answers were made by; None where the model has none: only "raw" is known.
      answer: to the tracks.
      probabilities: [tracks, labels] of the model.
      labels: [tracks] integers, the true labels.
      groups: [tracks], the group (artist) of each.

    Returns:
      raw, scaled: see `measure`.
      sets: {asked, covered, covered_by_group, labels}: the share of true labels that sets were to hold and held, over
        tracks and with every group counted once, and how many labels a set has on average.
      sure: {asked, share, error}: the error that was asked for, the share of answers that are sure, and how many of
        these are wrong.
      unfamiliar: the share of tracks that were taken for unlike the training music.
      refused: the share of those that are that, or not sure.
    """
    raw = {"raw": measure(probabilities, labels)}
    if confidence is None or answer is None:
        return raw
    held = answer.in_set[np.arange(len(labels)), labels]
    wrong = answer.probabilities.argmax(axis=1) != labels
    sure = answer.sure
    return raw | {
        "scaled": measure(answer.probabilities, labels),
        "sets": {
            "asked": confidence.calibration.coverage,
            "covered": float(held.mean()),
            "covered_by_group": float(group_weights(groups) @ held),
            "labels": float(answer.in_set.sum(axis=1).mean()),
        },
        "sure": {
            "asked": confidence.error,
            "share": float(sure.mean()),
            "error": float(wrong[sure].mean()) if sure.any() else 0.0,
        },
        "unfamiliar": float((~answer.familiar).mean()),
        "refused": float((~(answer.sure & answer.familiar)).mean()),
    }
