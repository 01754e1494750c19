"""How good a model is: patch predictions gathered into tracks, scored, and summed up as plain JSON.

What a reader of a score must know about the data behind it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfrecords.manifest import Manifest


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said about every patch of a set of tracks.

    Attributes:
      probabilities: [patches, labels] float32, finite; at least one patch.
      labels: [patches] int32, the true label of each patch's track, in 0 ... labels - 1.
      track_ids: the track of each patch; a track's patches need not be neighbours.
      label_names: [labels] names, all different.

    Raises:
      ValueError: a shape, a label or a probability breaks these rules.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    track_ids: Sequence[str]
    label_names: tuple[str, ...]

    def __post_init__(self) -> None:
        names = self.label_names
        if not names or len(set(names)) != len(names):
            raise ValueError(f"label_names must be one or more different names; got {names!r}")
        shape = self.probabilities.shape
        if len(shape) != 2 or shape[0] == 0 or shape[1] != len(names):
            raise ValueError(f"probabilities must be [patches >= 1, labels = {len(names)}]; got shape {shape}")
        if self.labels.shape != shape[:1] or not np.issubdtype(self.labels.dtype, np.integer):
            received = f"{self.labels.dtype} of shape {self.labels.shape}"
            raise ValueError(f"labels must be integers of shape [patches = {shape[0]}]; got {received}")
        if len(self.track_ids) != shape[0]:
            raise ValueError(f"track_ids must name a track for each of {shape[0]} patches; got {len(self.track_ids)}")
        if self.labels.min() < 0 or self.labels.max() >= len(names):
            received = f"{self.labels.min()} ... {self.labels.max()}"
            raise ValueError(f"labels must be in 0 ... {len(names) - 1}; got {received}")
        finite = np.isfinite(self.probabilities).all(axis=1)
        if not finite.all():
            first = int(np.argmin(finite))
            received = f"{self.probabilities[first].tolist()} for patch {first} of track {self.track_ids[first]!r}"
            raise ValueError(f"probabilities must be finite; got {received}")


@dataclass(frozen=True, eq=False)
class TrackPredictions:
    """What the patches of each track say together, in the order in which the tracks first appear.

    Attributes:
      track_ids: [tracks].
      labels: [tracks] int32, the true labels.
      mean_probabilities: [tracks, labels] float64, the mean over each track's patches.
      mean_prediction: [tracks] int64, the label of the highest mean probability.
      vote_prediction: [tracks] int64, the label that most patches were given.
    """

    track_ids: tuple[str, ...]
    labels: np.ndarray
    mean_probabilities: np.ndarray
    mean_prediction: np.ndarray
    vote_prediction: np.ndarray


class LabelScores(NamedTuple):
    """Scores of each label: precision, recall and f1 [labels] float64, support [labels] int64 (true tracks)."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def tracks(predictions: Predictions) -> TrackPredictions:
    """Gathers the patches of each track, by mean probability and by majority vote.

    Labels that tie in the vote are told apart by their mean probability; what ties in that too goes to the label
    that comes first.

    Raises:
      ValueError: the patches of one track carry different labels.
    """
    numbers = {track_id: number for number, track_id in enumerate(dict.fromkeys(predictions.track_ids))}
    patch_track = np.fromiter(map(numbers.__getitem__, predictions.track_ids), np.int64, len(predictions.track_ids))
    track_ids, num_labels = tuple(numbers), len(predictions.label_names)
    labels = np.zeros(len(track_ids), np.int32)
    labels[patch_track] = predictions.labels
    torn = labels[patch_track] != predictions.labels
    if torn.any():
        raise ValueError(
            f"a track must have one label; got several for {predictions.track_ids[int(np.argmax(torn))]!r}"
        )

    sums = [np.bincount(patch_track, weights=column) for column in predictions.probabilities.T]
    means = np.stack(sums, axis=1) / np.bincount(patch_track)[:, np.newaxis]
    ballots = patch_track * num_labels + predictions.probabilities.argmax(axis=1)
    votes = np.bincount(ballots, minlength=len(track_ids) * num_labels).reshape(len(track_ids), num_labels)
    leading = votes == votes.max(axis=1, keepdims=True)
    return TrackPredictions(
        track_ids=track_ids,
        labels=labels,
        mean_probabilities=means,
        mean_prediction=means.argmax(axis=1),
        vote_prediction=np.where(leading, means, -np.inf).argmax(axis=1),
    )


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_labels: int) -> np.ndarray:
    """Counts each pair of true and predicted label.

    Args:
      labels: [n] integers, the true labels.
      predictions: [n] integers, the predicted ones.
      num_labels: how many labels there are; both arrays hold 0 ... num_labels - 1.

    Returns:
      [num_labels true, num_labels predicted] int64.

    Raises:
      ValueError: the arrays differ in shape, or a label is out of range.
    """
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(f"labels and predictions must be [n] both; got shapes {labels.shape} and {predictions.shape}")
    for name, values in (("labels", labels), ("predictions", predictions)):
        if values.size and (values.min() < 0 or values.max() >= num_labels):
            raise ValueError(f"{name} must be in 0 ... {num_labels - 1}; got {values.min()} ... {values.max()}")
    pairs = np.bincount(labels * num_labels + predictions, minlength=num_labels**2)
    return pairs.reshape(num_labels, num_labels).astype(np.int64)


def per_label_scores(confusion: np.ndarray) -> LabelScores:
    """Precision, recall and F1 of each label from a confusion matrix [true, predicted].

    What is undefined is 0, as with scikit-learn's zero_division=0: the precision of a label that was never predicted,
    the recall of one without true tracks, the F1 of one with neither.
    """
    right = np.diagonal(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return LabelScores(
        precision=_ratio(right, predicted),
        recall=_ratio(right, support),
        f1=_ratio(2 * right, support + predicted),
        support=support,
    )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    # Counts: whatever is divided by zero is itself zero, and stays so when divided by one.
    return numerator / np.maximum(denominator, 1)


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion: unlike p +/- z s, right for few trials and for shares near 0 or 1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (158), 1927, pp. 209-212. It takes the trials as independent.

    Returns:
      (low, high), each in 0 ... 1.

    Raises:
      ValueError: total < 1, successes outside 0 ... total, or confidence outside the open interval (0, 1).
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


def summarize(predictions: Predictions) -> dict[str, Any]:
    """Everything that the report shows, as values that json.dumps takes.

    Returns:
      patches, tracks: counts.
      patch_accuracy, track_accuracy_vote, track_accuracy_mean: shares of right answers.
      track_accuracy_vote_interval, track_accuracy_mean_interval: [low, high], 95 % Wilson intervals.
      macro_f1: mean F1 of the labels that occur, as true ones or as predictions (scikit-learn's average="macro").
      chance: the accuracy of always answering the most common label of these tracks.
      label_names: list of names.
      confusion_matrix: [true][predicted] numbers of tracks.
      per_label: {name: {precision, recall, f1, accuracy, tracks}}; accuracy is the share of the label's tracks that
        were recognised, which for a single label is its recall; all are 0 where undefined (see per_label_scores).
      tracks_wrong: [{track_id, label, predicted, probability}], the most confident mistake first.
      Whatever is counted in tracks goes by mean probability, except track_accuracy_vote.

    Raises:
      ValueError: the patches of one track carry different labels.
    """
    by_track = tracks(predictions)
    num_tracks, names = len(by_track.track_ids), predictions.label_names
    confusion = confusion_matrix(by_track.labels, by_track.mean_prediction, len(names))
    scores = per_label_scores(confusion)
    right_mean = int(np.trace(confusion))
    right_vote = int(np.sum(by_track.vote_prediction == by_track.labels))
    occurs = confusion.sum(axis=0) + confusion.sum(axis=1) > 0
    return {
        "patches": len(predictions.labels),
        "tracks": num_tracks,
        "patch_accuracy": float(np.mean(predictions.probabilities.argmax(axis=1) == predictions.labels)),
        "track_accuracy_vote": right_vote / num_tracks,
        "track_accuracy_vote_interval": list(wilson_interval(right_vote, num_tracks)),
        "track_accuracy_mean": right_mean / num_tracks,
        "track_accuracy_mean_interval": list(wilson_interval(right_mean, num_tracks)),
        "macro_f1": float(scores.f1[occurs].mean()),
        "chance": float(scores.support.max() / num_tracks),
        "label_names": list(names),
        "confusion_matrix": confusion.tolist(),
        "per_label": _per_label(scores, names),
        "tracks_wrong": _tracks_wrong(by_track, names),
    }


def _per_label(scores: LabelScores, names: Sequence[str]) -> dict[str, dict[str, float | int]]:
    return {
        name: {
            "precision": float(scores.precision[label]),
            "recall": float(scores.recall[label]),
            "f1": float(scores.f1[label]),
            "accuracy": float(scores.recall[label]),
            "tracks": int(scores.support[label]),
        }
        for label, name in enumerate(names)
    }


def _tracks_wrong(by_track: TrackPredictions, names: Sequence[str]) -> list[dict[str, str | float]]:
    confidence = by_track.mean_probabilities.max(axis=1)
    wrong = np.flatnonzero(by_track.mean_prediction != by_track.labels)
    return [
        {
            "track_id": by_track.track_ids[track],
            "label": names[by_track.labels[track]],
            "predicted": names[by_track.mean_prediction[track]],
            "probability": float(confidence[track]),
        }
        for track in wrong[np.argsort(-confidence[wrong], kind="stable")]
    ]


KEPT_APART, LEAKING, NOT_GIVEN = "kept_apart", "torn", "not_given"
WITHOUT_PATCH = "tracks shorter than a patch, not in the score"
_SHOWN_GROUPS = 10


def groups_of(manifest: Manifest) -> str:
    """What the split did about tracks that belong together: KEPT_APART, TORN or NOT_GIVEN."""
    if not manifest.split.get("group_safe", False):
        return LEAKING
    return KEPT_APART if manifest.split.get("grouped", False) else NOT_GIVEN


def data_warnings(groups: str, tracks_without_patch: int) -> dict[str, str]:
    """What makes a score too good, or leaves tracks out of it, by the name of the fact in a report.

    Args:
      groups: of `groups_of`.
      tracks_without_patch: tracks of the scored parts that are shorter than a patch.
    """
    warnings = {}
    if groups == NOT_GIVEN:
        warnings["Artists"] = (
            "no artists were given, so one may be in both training and test: the score may be too good"
        )
    if groups == LEAKING:
        warnings["Artists"] = "some artists are in both training and test: the score is too good"
    if tracks_without_patch:
        warnings["Tracks without a patch"] = f"{WITHOUT_PATCH}: {tracks_without_patch}"
    return warnings


def evaluation_warnings(summary: Mapping[str, Any]) -> dict[str, str]:
    """What a reader of one evaluation must know, by the name of the fact in the report.

    Args:
      summary: of `trainer.evaluate.evaluate`.
    """
    warnings = {}
    if summary["seen_in_training"]:
        warnings["Seen in training"] = "these parts were trained or validated on: no score for new music"
    if summary["seen_in_training"] is None:
        warnings["Seen in training"] = "another dataset than the one trained on: it may hold training tracks"
    warnings |= data_warnings(summary["groups"], summary["tracks_without_patch"])
    if summary["new_groups"] is not None:
        # Somebody looked: the split tore groups, of which these are in the test.
        warnings.pop("Artists", None)
        for entry in summary["new_groups"]:
            warnings[f"Artists in {entry['new_to']}"] = _shared(entry, summary["tracks"])
    return warnings


def _shared(entry: Mapping[str, Any], tracks: int) -> str:
    groups = entry["shared_groups"]
    more = len(groups) - _SHOWN_GROUPS
    names = ", ".join(groups[:_SHOWN_GROUPS]) + (f" and {more} more" if more > 0 else "")
    return (
        f"{entry['tracks_left_out']} of {tracks} test tracks share their artist with {entry['new_to']} ({names}); "
        "there is a score without them"
    )
