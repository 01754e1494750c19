"""Scores of a model's predictions: patches gathered into tracks, accuracy, F1 and the confusion of labels."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trainer.evaluation import intervals

BOOTSTRAP, WILSON_OVER_GROUPS, WILSON = "bootstrap over groups", "Wilson over groups", "Wilson over tracks"


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's probabilities for every patch of a set of tracks.

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
    """Predictions for whole tracks, in the order in which the tracks first appear.

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
    """Gather the patches of each track, by mean probability and by majority vote.

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
    differs = labels[patch_track] != predictions.labels
    if differs.any():
        raise ValueError(
            f"a track must have one label; got several for {predictions.track_ids[int(np.argmax(differs))]!r}"
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
    """Count each pair of true and predicted label.

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
    """Return precision, recall and F1 of each label from a confusion matrix [true, predicted].

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


def macro_scores(confusion: np.ndarray) -> dict[str, float]:
    """Return `macro_recall` and `macro_f1`, which count all labels alike, from a confusion matrix [true, predicted].

    Recall is averaged over the labels that have true tracks, F1 over those that have any or are predicted.

    Example:
      >>> macro_scores(np.array([[8, 0], [1, 1]]))["macro_recall"]
      0.75
    """
    scores = per_label_scores(confusion)
    occurs = confusion.sum(axis=0) + scores.support > 0
    return {
        "macro_recall": float(scores.recall[scores.support > 0].mean()),
        "macro_f1": float(scores.f1[occurs].mean()),
    }


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    # Counts: whatever is divided by zero is itself zero, and stays so when divided by one.
    return numerator / np.maximum(denominator, 1)


@dataclass(frozen=True)
class Scores:
    """The scores of a set of tracks, and how each track fared.

    Whatever is counted in tracks goes by mean probability, except track_accuracy_vote.

    Attributes:
      patches: how many patches were scored.
      tracks: how many tracks were scored.
      patch_accuracy: the share of patches recognised.
      track_accuracy_vote: the share of tracks recognised by majority vote of their patches.
      track_accuracy_vote_interval: (low, high), its 95 % interval.
      track_accuracy_mean: the share of tracks recognised by the mean probability of their patches.
      track_accuracy_mean_interval: (low, high), its 95 % interval.
      macro_recall: mean recall of the labels that occur as true ones (balanced accuracy; scikit-learn's
        balanced_accuracy_score).
      macro_f1: mean F1 of the labels that occur, as true ones or as predictions (scikit-learn's average="macro").
      chance: the accuracy of always answering the most common label of these tracks.
      label_names: [labels] names.
      confusion_matrix: [true][predicted] numbers of tracks.
      per_label: {name: {precision, recall, f1, accuracy, tracks}}; accuracy is the share of the label's tracks that
        were recognised, which for a single label is its recall; all are 0 where undefined (see per_label_scores).
      tracks_wrong: [{track_id, label, predicted, probability}], the most confident mistake first.
      num_groups: how many groups the tracks are of; None where groups are not known.
      interval_method: what both intervals are: BOOTSTRAP; WILSON_OVER_GROUPS, with the groups as trials, where they are
        few or a bootstrap has no width; WILSON where groups are not known.
    """

    patches: int
    tracks: int
    patch_accuracy: float
    track_accuracy_vote: float
    track_accuracy_vote_interval: tuple[float, float]
    track_accuracy_mean: float
    track_accuracy_mean_interval: tuple[float, float]
    macro_recall: float
    macro_f1: float
    chance: float
    label_names: Sequence[str]
    confusion_matrix: Sequence[Sequence[int]]
    per_label: Mapping[str, Mapping[str, float | int]]
    tracks_wrong: Sequence[Mapping[str, str | float]]
    num_groups: int | None
    interval_method: str

    def to_json(self) -> dict[str, Any]:
        """Return all of it as values that json.dumps takes."""
        return dataclasses.asdict(self)


def summarize(predictions: Predictions, groups: Mapping[str, str] | None = None) -> Scores:
    """Score predictions.

    Args:
      predictions: of every patch of the tracks.
      groups: track id -> the group that it belongs to (its artist), where groups are known.

    Raises:
      ValueError: the patches of one track carry different labels.
    """
    by_track = tracks(predictions)
    num_tracks, names = len(by_track.track_ids), predictions.label_names
    confusion = confusion_matrix(by_track.labels, by_track.mean_prediction, len(names))
    scores = per_label_scores(confusion)
    # [mean and vote, tracks]
    right = np.stack([by_track.mean_prediction, by_track.vote_prediction]) == by_track.labels
    right_mean, right_vote = right.sum(axis=1).tolist()
    group_numbers = None if groups is None else intervals.number_groups([groups[name] for name in by_track.track_ids])
    method, (interval_mean, interval_vote) = _accuracy_intervals(right, group_numbers)
    return Scores(
        patches=len(predictions.labels),
        tracks=num_tracks,
        patch_accuracy=float(np.mean(predictions.probabilities.argmax(axis=1) == predictions.labels)),
        track_accuracy_vote=right_vote / num_tracks,
        track_accuracy_vote_interval=interval_vote,
        track_accuracy_mean=right_mean / num_tracks,
        track_accuracy_mean_interval=interval_mean,
        **macro_scores(confusion),
        chance=float(scores.support.max() / num_tracks),
        label_names=list(names),
        confusion_matrix=confusion.tolist(),
        per_label=_per_label(scores, names),
        tracks_wrong=_tracks_wrong(by_track, names),
        num_groups=None if group_numbers is None else int(group_numbers.max()) + 1,
        interval_method=method,
    )


def _accuracy_intervals(right: np.ndarray, groups: np.ndarray | None) -> tuple[str, list[tuple[float, float]]]:
    """Which interval it is, and that of each row of right [ways, tracks]; groups [tracks]: None if not known."""
    if groups is None:
        return WILSON, [intervals.wilson_interval(int(row.sum()), len(row)) for row in right]
    num_groups = int(groups.max()) + 1
    if num_groups >= intervals.MIN_GROUPS:
        found = [intervals.interval(accuracies) for accuracies in intervals.bootstrap(right, groups).T]
        if all(low < high for low, high in found):
            return BOOTSTRAP, found
    return WILSON_OVER_GROUPS, [intervals.wilson_interval(float(row.mean()) * num_groups, num_groups) for row in right]


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
