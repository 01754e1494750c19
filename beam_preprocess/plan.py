"""The plan of a job: which track goes into which part and shard.

The launcher makes the plan and writes it to a file, which the workers read line by line. Only paths are planned and
passed around; a spectrogram never leaves the worker that computed it.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import soundfile

from beam_preprocess import splits
from beam_preprocess.config import JobConfig, SplitConfig
from beam_preprocess.groups import Grouping, group_tracks
from beam_preprocess.inputs import labels
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.splits import stable_hash
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import align_columns, first_few, log
from tfrecords.manifest import FORMAT_VERSION
from tfrecords.shard import shard_file

# Enough shards for a few dozen workers to share even a small set evenly; large sets get files of about 100 MB.
_MIN_SHARD_TRACKS, _MAX_SHARD_TRACKS, _SHARDS = 32, 1000, 64
# Not dataclasses.astuple: its deep copies take longer than all the rest of planning.
_as_tuple = operator.attrgetter(*(field.name for field in dataclasses.fields(Track)))


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard to write.

    Attributes:
      part: the part that it belongs to.
      file: its name in the dataset's directory.
      tracks: in the order of their records.
      fingerprint: of all that decides its bytes: configuration, tracks, and the sizes of their files.
    """

    part: str
    file: str
    tracks: tuple[Track, ...]
    fingerprint: str

    def to_json(self) -> str:
        """Return one line of ASCII."""
        return json.dumps([self.part, self.file, self.fingerprint, [_as_tuple(track) for track in self.tracks]])

    @classmethod
    def from_json(cls, line: str) -> "ShardPlan":
        """Return the plan that `to_json` wrote."""
        part, file, fingerprint, tracks = json.loads(line)
        return cls(part, file, tuple(Track(*track) for track in tracks), fingerprint)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A whole job.

    Attributes:
      labels: label names, sorted; a record's label is an index into them.
      parts: part names, in order.
      shards: in the order of the parts.
      split: how the tracks were split into parts, for the manifest.
      configuration: fingerprint of what all shards have in common.
      fingerprint: of the whole plan.
    """

    labels: tuple[str, ...]
    parts: tuple[str, ...]
    shards: tuple[ShardPlan, ...]
    split: Mapping[str, Any]
    configuration: str
    fingerprint: str

    @property
    def num_tracks(self) -> int:
        """Number of tracks over all shards."""
        return sum(len(shard.tracks) for shard in self.shards)

    def label_counts(self) -> dict[str, Counter[str]]:
        """Return part -> label -> number of tracks."""
        counts: dict[str, Counter[str]] = {part: Counter() for part in self.parts}
        for shard in self.shards:
            counts[shard.part].update(track.label for track in shard.tracks)
        return counts


def plan_job(config: JobConfig, tracks: Sequence[Track]) -> Plan:
    """Label and group the tracks of a job, split them into parts and shards, and log the outcome.

    Args:
      config: the job.
      tracks: all tracks of its input.

    Raises:
      UserError: there is only one label, there are fewer groups than parts, or lists do not match the tracks.
    """
    tracks, merged_labels = _label(config, tracks)
    grouping = group_tracks(config, tracks)
    tracks = grouping.tracks
    parts, split = _split(config.split, grouping)
    chosen_labels = {track.label for track, part in zip(tracks, parts, strict=True) if part is not None}
    if len(chosen_labels) < 2:
        raise UserError(
            f"{config.source}: only one label, {min(chosen_labels)!r}: nothing to tell apart; "
            "put each genre's files in a folder of its own"
        )
    if left_out := parts.count(None):
        log(f"{left_out} tracks are in none of the lists and are left out")
    split |= _describe_groups(grouping, parts)
    if merged_labels:
        split["merged_labels"] = merged_labels
    plan = make_plan(config, tracks, parts, split)
    log(f"{config.source}: {plan.num_tracks} tracks, {len(plan.labels)} labels, {len(plan.shards)} shards")
    _log_parts(plan)
    return plan


def _label(config: JobConfig, tracks: Sequence[Track]) -> tuple[Sequence[Track], dict[str, list[str]]]:
    """Return the tracks with their final labels, and label -> spellings of the labels that were merged."""
    if config.split.split_folders:
        tracks = labels.label_below_parts(tracks, config.label_folder)
    tracks, merged = labels.merge_labels(tracks) if config.merge_labels else (tracks, {})
    if merged:
        log(f"labels merged: {first_few([' and '.join(map(repr, same)) for same in merged.values()], '; ')}")
    labels.warn_of_labels(config, tracks)
    return tracks, merged


def _split(split: SplitConfig, grouping: Grouping) -> tuple[list[str | None], dict[str, Any]]:
    """Return each track's part (None: left out), and the method for the manifest."""
    tracks = grouping.tracks
    if split.split_folders:
        return list(labels.assign_by_folders(tracks)), {"method": "folders"}
    if split.split_lists:
        return splits.assign_by_lists(tracks, splits.read_lists(split.split_lists)), {"method": "lists"}
    method: dict[str, Any]
    if split.train_size is not None:
        weights = splits.size_weights(split.train_size, split.valid_size)
        method = {"method": "sizes", "weights": weights, "seed": split.seed}
    else:
        folds = grouping.folds if split.folds is None else split.folds
        weights = splits.fold_weights(folds)
        method = {"method": "folds", "folds": folds, "seed": split.seed}
    advice = "or treat the pieces of a recording as tracks of their own: `groups=none`"
    options = {"advice": advice} if grouping.cut_recordings else {}
    return list(splits.assign(tracks, weights, seed=split.seed, **options)), method


def _describe_groups(grouping: Grouping, parts: Sequence[str | None]) -> dict[str, Any]:
    """Return what the manifest says of the groups; warn of groups in more than one part."""
    tracks = grouping.tracks
    leaking = splits.leaking_groups(tracks, parts)
    if leaking:
        log(
            f"warning: {len(leaking)} groups are in more than one part ({first_few(leaking)}): "
            "scores will look too good"
        )
    facts: dict[str, Any] = {
        "groups": len({track.group for track, part in zip(tracks, parts, strict=True) if part is not None}),
        "grouped": any(track.group != track.track_id for track in tracks),
        "group_safe": not leaking,
    }
    if grouping.table:
        facts["group_table"] = grouping.table
    if grouping.cut_recordings:
        facts["cut_recordings"] = grouping.cut_recordings
    return facts


def _log_parts(plan: Plan) -> None:
    counts = plan.label_counts()
    rows = [[part, *(str(counts[part][label]) for label in plan.labels)] for part in plan.parts]
    log(align_columns([["part", *plan.labels], *rows]))
    missing = {part: [label for label in plan.labels if not counts[part][label]] for part in plan.parts}
    if lacking := [f"{part} lacks {', '.join(names)}" for part, names in missing.items() if names]:
        log(f"warning: too few groups to have each label in each part: {first_few(lacking, '; ')}")


def make_plan(
    config: JobConfig, tracks: Sequence[Track], parts: Sequence[str | None], split: Mapping[str, Any]
) -> Plan:
    """Divide the tracks of each part into shards, in the order of a stable hash, so that every shard mixes labels.

    Args:
      config: the job.
      tracks: all tracks of its input.
      parts: each track's part; None leaves the track out.
      split: how the tracks were split into parts, for the manifest.
    """
    part_tracks: dict[str, list[Track]] = {
        part: [] for part in sorted({part for part in parts if part is not None}, key=_part_order)
    }
    for track, part in zip(tracks, parts, strict=True):
        if part is not None:
            part_tracks[part].append(track)
    total = sum(map(len, part_tracks.values()))
    label_names = tuple(sorted({track.label for chosen in part_tracks.values() for track in chosen}))
    front_end = dataclasses.astuple(config.front_end)
    configuration = digest([FORMAT_VERSION, versions(), config.name, front_end, config.record_dtype, label_names])
    limits = [config.min_frames, config.max_duration_s]
    shards = []
    for part, chosen in part_tracks.items():
        chosen.sort(key=lambda track: stable_hash(0, track.track_id))
        pieces = cut(chosen, total=total, num_shards=config.num_shards)
        for index, shard_tracks in enumerate(pieces):
            identity = [(track.track_id, track.label, track.group, track.size) for track in shard_tracks]
            file = shard_file(config.name, part, index, len(pieces))
            fingerprint = digest([configuration, limits, part, file, identity])
            shards.append(ShardPlan(part, file, shard_tracks, fingerprint))
    fingerprint = digest([configuration, dict(split), [shard.fingerprint for shard in shards]])
    return Plan(label_names, tuple(part_tracks), tuple(shards), split, configuration, fingerprint)


def cut(tracks: Sequence[Track], *, total: int, num_shards: int | None) -> list[tuple[Track, ...]]:
    """Return the tracks of each shard of a part, in order.

    Args:
      tracks: of the part.
      total: number of tracks over all parts.
      num_shards: over all parts; None: depends on the number of tracks.
    """
    count = _num_shards(len(tracks), total, num_shards)
    bounds = [len(tracks) * index // count for index in range(count + 1)]
    return [tuple(tracks[first:last]) for first, last in itertools.pairwise(bounds)]


def _num_shards(tracks: int, total: int, requested: int | None) -> int:
    if requested is not None:
        return min(tracks, max(1, round(requested * tracks / total)))
    shard_tracks = min(_MAX_SHARD_TRACKS, max(_MIN_SHARD_TRACKS, total // _SHARDS))
    return math.ceil(tracks / shard_tracks)


def _part_order(part: str) -> tuple[int, int, str]:
    if part in ("train", "valid", "test"):
        return (0, ("train", "valid", "test").index(part), part)
    stem, _, number = part.rpartition("_")
    return (1, int(number) if number.isdigit() else 0, stem)


def digest(value: Any) -> str:
    """Return the fingerprint of a value that JSON can hold, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("ascii")).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide the bytes of a record."""
    names = ("av", "librosa", "numpy", "scipy", "soundfile", "soxr")
    return {name: metadata.version(name) for name in names} | {"libsndfile": soundfile.__libsndfile_version__}
