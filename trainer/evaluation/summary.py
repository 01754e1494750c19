"""The result of evaluating a trained job: its scores, and what a reader must know about the tracks behind them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords.dataset import Dataset
from tfrecords.manifest import Manifest
from trainer.evaluation.metrics import Predictions, Scores, summarize
from trainer.training_job import PartChoice, TrainingJob

if TYPE_CHECKING:
    import keras

KEPT_APART, LEAKING, NOT_GIVEN = "kept_apart", "torn", "not_given"
WITHOUT_PATCH = "tracks shorter than a patch, not in the score"
_SHOWN_GROUPS = 10
# Of scores, what is kept of those of new groups.
_SCORES_OF_NEW_GROUPS = (
    "patches",
    "tracks",
    "patch_accuracy",
    "track_accuracy_vote",
    "track_accuracy_vote_interval",
    "track_accuracy_mean",
    "track_accuracy_mean_interval",
    "macro_recall",
    "macro_f1",
    "chance",
    "num_groups",
    "interval_method",
)


@dataclasses.dataclass(frozen=True)
class NewGroups:
    """The scores without the tracks whose group (the artist) training has seen.

    Attributes:
      new_to: what the tracks that are scored are new to, "training" or "training and validation".
      shared_groups: the groups that the test shares with it, sorted.
      tracks_left_out: how many tracks these have in the test.
      scores: of the other tracks; None where there is no other.
    """

    new_to: str
    shared_groups: Sequence[str]
    tracks_left_out: int
    scores: Scores | None

    def to_json(self) -> dict[str, Any]:
        """Return it as values that json.dumps takes; tracks is 0 where no track is left."""
        scores = self.scores.to_json() if self.scores else {}
        own = {
            "new_to": self.new_to,
            "shared_groups": list(self.shared_groups),
            "tracks_left_out": self.tracks_left_out,
        }
        return own | ({name: scores[name] for name in _SCORES_OF_NEW_GROUPS} if scores else {"tracks": 0})


@dataclasses.dataclass(frozen=True)
class Summary:
    """What an evaluation found.

    Attributes:
      scores: of all tracks of the parts that give a patch.
      data_dir: the dataset.
      parts: the parts that were scored.
      model: the name of the model.
      recipe: how it was trained.
      seed: of its training.
      seen_in_training: whether the parts were trained or validated on; None for another dataset, whose tracks nobody
        compared.
      groups: what the split did about tracks that belong together: KEPT_APART, LEAKING or NOT_GIVEN.
      new_groups: scores without the tracks of groups in training, and without those of validation's groups as well;
        None where nobody looked for them, as the split kept groups apart, the dataset records none or the tracks were
        seen in training.
      tracks_without_patch: how many tracks of the parts are shorter than a patch.
    """

    scores: Scores
    data_dir: str
    parts: tuple[str, ...]
    model: str
    recipe: str
    seed: int
    seen_in_training: bool | None
    groups: str
    new_groups: tuple[NewGroups, ...] | None
    tracks_without_patch: int

    @property
    def scores_of_new_groups(self) -> list[tuple[str, Scores]]:
        """What the tracks are new to and their scores, of those of new_groups that leave a track to score."""
        return [(each.new_to, each.scores) for each in self.new_groups or () if each.scores]

    def to_json(self) -> dict[str, Any]:
        """Return metrics.json as values that json.dumps takes: the scores and the other fields in one object."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        scores = own.pop("scores").to_json()
        if self.new_groups is not None:
            own["new_groups"] = [each.to_json() for each in self.new_groups]
        return scores | own | {"parts": list(self.parts)}

    def warnings(self) -> dict[str, str]:
        """Return what a reader of the scores must know, by the name of the fact in the report."""
        warnings = {}
        if self.seen_in_training:
            warnings["Seen in training"] = "these parts were trained or validated on: no score for new music"
        if self.seen_in_training is None:
            warnings["Seen in training"] = "another dataset than the one trained on: it may hold training tracks"
        warnings |= data_warnings(self.groups, self.tracks_without_patch)
        if self.new_groups is not None:
            # The split let groups leak, of which these are in the test.
            warnings.pop("Artists", None)
            for new in self.new_groups:
                warnings[f"Artists in {new.new_to}"] = _describe_shared(new, self.scores.tracks)
        return warnings


def score(
    job: TrainingJob, model: "keras.Model", manifest: Manifest, data_dir: str | Path, parts: Sequence[str]
) -> Summary:
    """Score a trained model on parts of a dataset.

    Args:
      job: the training of the model.
      model: the trained model.
      manifest: of the dataset.
      data_dir: the directory of the dataset.
      parts: names of parts, as the manifest has them.

    Raises:
      UserError: the dataset cannot be read, or holds no patch; the model's answer to a track is no number.
      ShardError: a shard is missing, torn or corrupt.
    """
    from trainer.evaluation.predictions import predict

    predictions = predict(job, model, str(data_dir), parts)
    groups = read_groups(manifest, data_dir, parts) if _records_groups(manifest) else None
    seen = _seen_in_training(job, manifest, parts)
    new_groups = None
    if groups is not None and groups_of(manifest) == LEAKING and seen is False:
        new_groups = score_new_groups(predictions, groups, manifest, data_dir, job.parts)
    scores = summarize(predictions, groups)
    return Summary(
        scores=scores,
        data_dir=str(data_dir),
        parts=tuple(parts),
        model=job.model,
        recipe=job.recipe,
        seed=job.seed,
        seen_in_training=seen,
        groups=groups_of(manifest),
        new_groups=new_groups,
        tracks_without_patch=sum(manifest.tracks(parts).values()) - scores.tracks,
    )


def score_new_groups(
    predictions: Predictions,
    groups: Mapping[str, str],
    manifest: Manifest,
    data_dir: str | Path,
    parts: PartChoice,
) -> tuple[NewGroups, ...]:
    """Score without the tracks of groups that are in training, and without those of validation's groups as well.

    Reads the records of the parts for training and validation once, for the groups in them.

    Args:
      predictions: of the test tracks.
      groups: track id -> group of these tracks.
      manifest: of the dataset that was trained on.
      data_dir: its directory.
      parts: the parts that trained the model and those that its epoch was chosen on.

    Returns:
      One for each of the two, unless it leaves no more tracks out than the one before, or none.

    Raises:
      ShardError: a shard is missing, torn or corrupt.
    """
    seen: set[str] = set()
    scored: list[NewGroups] = []
    for new_to, names in (("training", parts.train), ("training and validation", parts.valid)):
        seen |= set(read_groups(manifest, data_dir, names).values())
        left_out = {track_id for track_id in set(predictions.track_ids) if groups[track_id] in seen}
        if len(left_out) > (scored[-1].tracks_left_out if scored else 0):
            shared = sorted({groups[track_id] for track_id in left_out})
            scored.append(NewGroups(new_to, shared, len(left_out), _score_others(predictions, groups, left_out)))
    return tuple(scored)


def read_groups(manifest: Manifest, data_dir: str | Path, parts: Sequence[str]) -> dict[str, str]:
    """Return track id -> group of the parts' tracks; reads all their records.

    Raises:
      ShardError: a shard is missing, torn or corrupt.
    """
    return {record.track_id: record.group for part in parts for record in Dataset(data_dir, manifest).records(part)}


def groups_of(manifest: Manifest) -> str:
    """Return what the split did about tracks that belong together: KEPT_APART, LEAKING or NOT_GIVEN."""
    if not manifest.split.get("group_safe", False):
        return LEAKING
    return KEPT_APART if _records_groups(manifest) else NOT_GIVEN


def data_warnings(groups: str, tracks_without_patch: int) -> dict[str, str]:
    """Return what makes a score too good, or leaves tracks out of it, by the name of the fact in a report.

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


def _records_groups(manifest: Manifest) -> bool:
    return bool(manifest.split.get("grouped", False))


def _seen_in_training(job: TrainingJob, manifest: Manifest, parts: Sequence[str]) -> bool | None:
    if manifest.fingerprint != job.fingerprint:
        return None
    return bool(set(parts) & {*job.parts.train, *job.parts.valid})


def _score_others(predictions: Predictions, groups: Mapping[str, str], left_out: set[str]) -> Scores | None:
    kept = np.array([track_id not in left_out for track_id in predictions.track_ids])
    if not kept.any():
        return None
    others = Predictions(
        probabilities=predictions.probabilities[kept],
        labels=predictions.labels[kept],
        track_ids=[track_id for track_id in predictions.track_ids if track_id not in left_out],
        label_names=predictions.label_names,
    )
    return summarize(others, groups)


def _describe_shared(new: NewGroups, tracks: int) -> str:
    more = len(new.shared_groups) - _SHOWN_GROUPS
    names = ", ".join(new.shared_groups[:_SHOWN_GROUPS]) + (f" and {more} more" if more > 0 else "")
    return (
        f"{new.tracks_left_out} of {tracks} test tracks share their artist with {new.new_to} ({names}); "
        "there is a score without them"
    )
