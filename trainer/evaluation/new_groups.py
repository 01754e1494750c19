"""The score of those test tracks whose group (the artist) training has not met, where a split tore some groups."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.dataset import Dataset
from tfrecords.manifest import Manifest
from trainer.evaluation.metrics import Predictions, summarize
from trainer.training_job import PartChoice

# Of a summary, what makes sense beside that of all tracks.
_SCORES = (
    "patches",
    "tracks",
    "patch_accuracy",
    "track_accuracy_vote",
    "track_accuracy_vote_interval",
    "track_accuracy_mean",
    "track_accuracy_mean_interval",
    "macro_f1",
    "chance",
)


def scores_of_new_groups(
    predictions: Predictions, manifest: Manifest, data_dir: str | Path, parts: PartChoice
) -> list[dict[str, Any]]:
    """Scores without the tracks of groups that are in training, and without those of validation's groups as well.

    Reads the records of all these parts once, for the groups in them.

    Args:
      predictions: of the parts that test.
      manifest: of the dataset that was trained on.
      data_dir: its directory.
      parts: what trained, what the epoch was chosen on, and what tests.

    Returns:
      For each of the two, unless it leaves no other tracks out than the one before, or none: what the tracks are new
      to ("training" or "training and validation"), shared_groups (sorted), tracks_left_out, and the scores of the
      others (see `summarize`); tracks is 0 and there are no scores where no track is left.

    Raises:
      ShardError: a shard is missing, torn or corrupt.
    """
    train, valid, test = (_groups(manifest, data_dir, names) for names in (parts.train, parts.valid, parts.test))
    seen = set(train.values())
    found: list[dict[str, Any]] = []
    for new_to, more in (("training", set()), ("training and validation", set(valid.values()))):
        seen |= more
        left_out = {track_id for track_id in set(predictions.track_ids) if test[track_id] in seen}
        if len(left_out) > (found[-1]["tracks_left_out"] if found else 0):
            found.append(
                {
                    "new_to": new_to,
                    "shared_groups": sorted({test[track_id] for track_id in left_out}),
                    "tracks_left_out": len(left_out),
                    **_scores(predictions, left_out),
                }
            )
    return found


def _groups(manifest: Manifest, data_dir: str | Path, parts: Sequence[str]) -> dict[str, str]:
    """Track id -> group."""
    return {record.track_id: record.group for part in parts for record in Dataset(data_dir, manifest).records(part)}


def _scores(predictions: Predictions, left_out: set[str]) -> dict[str, Any]:
    kept = np.array([track_id not in left_out for track_id in predictions.track_ids])
    if not kept.any():
        return {"tracks": 0}
    others = Predictions(
        probabilities=predictions.probabilities[kept],
        labels=predictions.labels[kept],
        track_ids=[track_id for track_id in predictions.track_ids if track_id not in left_out],
        label_names=predictions.label_names,
    )
    summary = summarize(others)
    return {name: summary[name] for name in _SCORES}
