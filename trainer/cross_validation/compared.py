"""What a comparison of several cross-validations found, as plain JSON."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrecords.command_line import UserError
from trainer.cross_validation import comparison
from trainer.cross_validation.entries import Entry
from trainer.cross_validation.left_out import LeftOut
from trainer.scoring.score_warnings import WITHOUT_PATCH


def check_against(entries: Sequence[Entry], against: Sequence[str]) -> list[str]:
    """The names of the entries that all others are compared with, each once; by default the first one's.

    Raises:
      UserError: there is no such entry.
    """
    names = [entry.name for entry in entries]
    for name in against:
        if name not in names:
            raise UserError(f"--against must be one of {'; '.join(map(repr, names))}; got {name!r}")
    return list(dict.fromkeys(against)) or names[:1]


def compared(
    entries: Sequence[Entry],
    *,
    against: Sequence[str],
    left_out: LeftOut | None,
    torn: Sequence[str] = (),
    speeds: Mapping[str, Sequence[float]],
    command: str,
) -> dict[str, Any]:
    """Everything that the tables and the picture show, as values that json.dumps takes.

    Args:
      entries: with the predictions of the tracks to score (see trainer.cross_validation.left_out.scored).
      against: of `check_against`.
      left_out: the tracks that were left out.
      torn: groups of which some tracks were left out and others are scored.
      speeds: predictions a second of each round by the entries' names; empty where they were not measured.
      command: that asked for it.

    Returns:
      command.
      data: what is scored: see `_data`.
      warnings: of the cross-validations' data, and of `torn`.
      entries: {name: see `_entry`}.
      comparisons: [{one, other, difference, interval}], other each of `against`; difference is one's track accuracy
        less the other's, interval its 95 % interval over groups.
    """
    pooled = entries[0].finished.pooled
    probabilities = [_probabilities(entry) for entry in entries]
    right = np.stack([own.mean(axis=0).argmax(axis=1) == pooled.labels for own in probabilities])
    drawn = comparison.bootstrap(right, pooled.group_numbers)
    numbers = {entry.name: number for number, entry in enumerate(entries)}
    return {
        "command": command,
        "data": _data(entries, left_out),
        "warnings": _warnings(entries, torn),
        "entries": {
            entry.name: _entry(entry, speeds)
            | {
                "track_accuracy": float(right[number].mean()),
                "interval": list(comparison.interval(drawn[:, number])),
                "over_seeds": _over_seeds(probabilities[number], pooled.labels),
            }
            for number, entry in enumerate(entries)
        },
        "comparisons": [
            {
                "one": name,
                "other": other,
                "difference": float(right[number].mean() - right[numbers[other]].mean()),
                "interval": list(comparison.interval(drawn[:, number] - drawn[:, numbers[other]])),
            }
            for other in against
            for name, number in numbers.items()
            if name != other
        ],
    }


def _warnings(entries: Sequence[Entry], torn: Sequence[str]) -> list[str]:
    """What makes the scores too good; how many tracks are not scored is a fact of the comparison's own."""
    every = dict.fromkeys(words for entry in entries for words in entry.finished.results.warnings)
    found = [words for words in every if not words.startswith(WITHOUT_PATCH)]
    if torn:
        found.append(
            f"of {len(torn)} artists or other groups some tracks are left out and others are scored, as of {torn[0]!r}"
        )
    return found


def _probabilities(entry: Entry) -> np.ndarray:
    """[seeds, tracks, labels] float64."""
    pooled = entry.finished.pooled
    return pooled.probabilities[pooled.models.index(entry.model)].astype(np.float64)


def _data(entries: Sequence[Entry], left_out: LeftOut | None) -> dict[str, Any]:
    """What is scored.

    Returns:
      tracks, groups, tracks_per_label: of those that are scored.
      tracks_without_patch: that some entry has no prediction of.
      left_out: {tracks, sha256} of the list; None without one.
      chance: the accuracy of always answering the most common label of these tracks.
    """
    first = entries[0].finished
    pooled, data = first.pooled, first.results.data
    per_label = np.bincount(pooled.labels, minlength=len(pooled.label_names))
    of_dataset = data.tracks + data.tracks_without_patch
    listed = len(left_out.track_ids) if left_out else 0
    return {
        "name": data.name,
        "fingerprint": first.asked.fingerprint,
        "tracks": len(pooled.track_ids),
        "groups": len(set(pooled.groups)),
        "grouped": data.grouped,
        "folds": first.asked.folds,
        "label_names": list(pooled.label_names),
        "tracks_per_label": dict(zip(pooled.label_names, per_label.tolist(), strict=True)),
        "chance": float(per_label.max() / per_label.sum()),
        "tracks_without_patch": of_dataset - listed - len(pooled.track_ids),
        "left_out": {"tracks": listed, "sha256": left_out.sha256} if left_out else None,
    }


def _entry(entry: Entry, speeds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """What an entry is and what it costs.

    Returns:
      model, recipe, flags: that its name is made of.
      training: the recipe in words, patch_frames, augment, model_options and precision.
      seeds: of its trainings.
      parameters: of the model.
      core_seconds: {mean, measured, trainings}: of one training, the mean of those that were measured, None where
        none was; how many were; how many there are.
      predictions_per_s: {median, rounds}; None where it was not measured.
    """
    training = entry.finished.results.training
    measured, rounds = entry.core_seconds(), speeds.get(entry.name)
    return {
        "model": entry.model,
        "recipe": entry.finished.recipe,
        "flags": entry.flags,
        "training": {
            "described": training.described,
            "patch_frames": training.patch_frames,
            "augment": training.augment,
            "model_options": dict(training.model_options),
            "precision": training.precision,
        },
        "seeds": list(entry.seeds),
        "parameters": entry.parameters,
        "core_seconds": {
            "mean": statistics.fmean(measured) if measured else None,
            "measured": len(measured),
            "trainings": len(entry.runs()),
        },
        "predictions_per_s": {"median": statistics.median(rounds), "rounds": list(rounds)} if rounds else None,
    }


def _over_seeds(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracies of each seed alone, {mean, std, each}; std is that of a sample, None of a single seed."""
    each = (probabilities.argmax(axis=2) == labels).mean(axis=1)
    return {
        "mean": float(each.mean()),
        "std": float(each.std(ddof=1)) if len(each) > 1 else None,
        "each": each.tolist(),
    }
