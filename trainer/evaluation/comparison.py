"""A comparison of several cross-validations, as plain JSON, with or without some of their tracks."""

import codecs
import dataclasses
import hashlib
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords import schema
from tfrecords.common.command_line import UserError
from tfrecords.common.files import open_regular
from trainer.evaluation import intervals, metrics
from trainer.evaluation.entries import Entry, Finished, common_tracks
from trainer.evaluation.summary import WITHOUT_PATCH


@dataclasses.dataclass(frozen=True)
class ExcludedTracks:
    """Tracks that a comparison does not score, such as those on which choices were made.

    Attributes:
      track_ids: all different.
      sha256: hexadecimal checksum of its file.
    """

    track_ids: frozenset[str]
    sha256: str

    @classmethod
    def read(cls, path: Path) -> "ExcludedTracks":
        """Read a file of track_ids, one a line, with or without a byte order mark.

        Raises:
          UserError: it cannot be read, or names no track.
        """
        try:
            with open_regular(path) as file:
                data = file.read()
        except OSError as error:
            raise UserError(f"`leave_out={path}` cannot be read: {error.strerror}") from None
        lines = data.removeprefix(codecs.BOM_UTF8).splitlines()
        track_ids = frozenset(schema.to_text(line) for line in lines if line)
        if not track_ids:
            raise UserError(f"`leave_out={path}` must name tracks by their track_id, one a line; it is empty")
        return cls(track_ids, hashlib.sha256(data).hexdigest())


def leaking_groups(finished: Sequence[Finished], left_out: ExcludedTracks) -> list[str]:
    """Return the groups of which some tracks are left out and others are scored, sorted."""
    listed: set[str] = set()
    for each in finished:
        groups = zip(each.pooled.track_ids, each.pooled.groups, strict=True)
        listed.update(group for track_id, group in groups if track_id in left_out.track_ids)
    return sorted(listed.intersection(scored(finished, left_out)[0].pooled.groups))


def scored(finished: Sequence[Finished], left_out: ExcludedTracks | None) -> list[Finished]:
    """Return the cross-validations with the predictions of the tracks that all have, without those left out.

    Raises:
      UserError: a track to be left out is in none of them, or none is left.
    """
    names = left_out.track_ids if left_out else frozenset()
    if unknown := sorted(names.difference(*(each.pooled.track_ids for each in finished))):
        raise UserError(
            f"`leave_out` must name tracks that give a patch; {len(unknown)} of {len(names)} are not among those "
            f"predicted, the first {unknown[0]!r}"
        )
    track_ids = [track_id for track_id in common_tracks(finished) if track_id not in names]
    if not track_ids:
        raise UserError(f"no track is left to score: {len(names)} left out, {len(common_tracks(finished))} in all")
    return [dataclasses.replace(each, pooled=each.pooled.only(track_ids)) for each in finished]


def check_against(entries: Sequence[Entry], against: Sequence[str]) -> list[str]:
    """Return the names of the entries that all others are compared with, each once; by default the first.

    Raises:
      UserError: there is no such entry.
    """
    names = [entry.name for entry in entries]
    for name in against:
        if name not in names:
            raise UserError(f"`against` must be one of {'; '.join(map(repr, names))}; got {name!r}")
    return list(dict.fromkeys(against)) or names[:1]


def compare_entries(
    entries: Sequence[Entry],
    *,
    against: Sequence[str],
    left_out: ExcludedTracks | None,
    leaking: Sequence[str] = (),
    speeds: Mapping[str, Sequence[float]],
    command: str,
) -> dict[str, Any]:
    """Score the entries on the same draws of groups, and return what the tables and the picture show as JSON values.

    Args:
      entries: with the predictions of the tracks to score (see trainer.evaluation.comparison.scored).
      against: of `check_against`.
      left_out: the tracks that are not scored.
      leaking: groups of which some tracks were left out and others are scored.
      speeds: predictions a second of each round by the entries' names; empty where they were not measured.
      command: that asked for it.

    Returns:
      command.
      data: what is scored: see `_data`.
      warnings: of the cross-validations' data, and of `leaking`.
      entries: {name: see `_entry`}.
      comparisons: [{one, other, difference, interval}], other each of `against`; difference is one's track accuracy
        less the other's, interval its 95 % interval over groups.
    """
    pooled = entries[0].finished.pooled
    probabilities = [_probabilities(entry) for entry in entries]
    right = np.stack([each.mean(axis=0).argmax(axis=1) == pooled.labels for each in probabilities])
    drawn = intervals.bootstrap(right, pooled.group_numbers)
    numbers = {entry.name: number for number, entry in enumerate(entries)}
    return {
        "command": command,
        "data": _data(entries, left_out),
        "warnings": _warnings(entries, leaking),
        "entries": {
            entry.name: _entry(entry, speeds)
            | {
                "track_accuracy": float(right[number].mean()),
                "interval": list(intervals.interval(drawn[:, number])),
                "over_seeds": _over_seeds(probabilities[number], pooled.labels),
                **_macro_scores(probabilities[number], pooled.labels),
            }
            for number, entry in enumerate(entries)
        },
        "comparisons": [
            {
                "one": name,
                "other": other,
                "difference": float(right[number].mean() - right[numbers[other]].mean()),
                "interval": list(intervals.interval(drawn[:, number] - drawn[:, numbers[other]])),
            }
            for other in against
            for name, number in numbers.items()
            if name != other
        ],
    }


def _warnings(entries: Sequence[Entry], leaking: Sequence[str]) -> list[str]:
    """What makes the scores too good; how many tracks are not scored is among the facts of the data."""
    every = dict.fromkeys(words for entry in entries for words in entry.finished.results.warnings)
    warnings = [words for words in every if not words.startswith(WITHOUT_PATCH)]
    if leaking:
        warnings.append(
            f"of {len(leaking)} artists or other groups some tracks are left out and others are scored, as of "
            f"{leaking[0]!r}"
        )
    return warnings


def _probabilities(entry: Entry) -> np.ndarray:
    """[seeds, tracks, labels] float64."""
    pooled = entry.finished.pooled
    return pooled.probabilities[pooled.models.index(entry.model)].astype(np.float64)


def _data(entries: Sequence[Entry], left_out: ExcludedTracks | None) -> dict[str, Any]:
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


def _macro_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """macro_recall and macro_f1 of the probabilities' mean over the seeds."""
    mean = probabilities.mean(axis=0)
    return metrics.macro_scores(metrics.confusion_matrix(labels, mean.argmax(axis=1), mean.shape[1]))


def _over_seeds(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracies of each seed alone, {mean, std, each}; std is that of a sample, None of a single seed."""
    each = (probabilities.argmax(axis=2) == labels).mean(axis=1)
    return {
        "mean": float(each.mean()),
        "std": float(each.std(ddof=1)) if len(each) > 1 else None,
        "each": each.tolist(),
    }
