"""Versions of what decides the bytes of a record.

The plan of a job: which tracks make which shard. Made by the launcher, read back line by line by the workers.

Only paths are planned and passed around; no spectrogram ever leaves the worker that made it.

What the launcher decides before the pipeline starts: which track goes into which part and shard.
"""

import dataclasses
import hashlib
import json
import math
import operator
from collections import Counter, defaultdict
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


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the bytes of a record."""
    found = {name: metadata.version(name) for name in ("av", "librosa", "numpy", "scipy", "soundfile", "soxr")}
    return found | {"libsndfile": soundfile.__libsndfile_version__}


# Enough shards for a few dozen workers to share even a small set evenly; big sets get files of about 100 MB.
_MIN_SHARD_TRACKS, _MAX_SHARD_TRACKS, _SHARDS = 32, 1000, 64
# Not dataclasses.astuple: it copies every value deeply, which takes longer than all else that planning does.
_as_tuple = operator.attrgetter(*(field.name for field in dataclasses.fields(Track)))


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard to write.

    Attributes:
      part: the part it belongs to.
      file: its name in the dataset's directory.
      tracks: in the order of their records.
      fingerprint: of all that decides its bytes: configuration, tracks, and the sizes of their files.
    """

    part: str
    file: str
    tracks: tuple[Track, ...]
    fingerprint: str

    def to_json(self) -> str:
        """One line of ASCII."""
        return json.dumps([self.part, self.file, self.fingerprint, [_as_tuple(track) for track in self.tracks]])

    @classmethod
    def from_json(cls, line: str) -> "ShardPlan":
        """Inverse of `to_json`."""
        part, file, fingerprint, tracks = json.loads(line)
        return cls(part, file, tuple(Track(*track) for track in tracks), fingerprint)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A whole job.

    Attributes:
      labels: label names, sorted; a record's label is an index into them.
      parts: part names, in order.
      shards: in the order of parts.
      split: how the parts came about, for the manifest.
      configuration: fingerprint of what all shards have in common.
      fingerprint: of the whole.
    """

    labels: tuple[str, ...]
    parts: tuple[str, ...]
    shards: tuple[ShardPlan, ...]
    split: Mapping[str, Any]
    configuration: str
    fingerprint: str

    @property
    def num_tracks(self) -> int:
        """Tracks over all shards."""
        return sum(len(shard.tracks) for shard in self.shards)

    def label_counts(self) -> dict[str, Counter[str]]:
        """part -> tracks per label."""
        counts: dict[str, Counter[str]] = {part: Counter() for part in self.parts}
        for shard in self.shards:
            counts[shard.part].update(track.label for track in shard.tracks)
        return counts


def make_plan(
    config: JobConfig, tracks: Sequence[Track], parts: Sequence[str | None], split: Mapping[str, Any]
) -> Plan:
    """Deals the tracks of each part into shards, in the order of a stable hash, so that labels mix in every shard.

    Args:
      config: the job.
      tracks: all tracks listed.
      parts: each track's part; None leaves the track out.
      split: how the parts came about, for the manifest.
    """
    members: dict[str, list[Track]] = defaultdict(list)
    for part in sorted({part for part in parts if part is not None}, key=_part_order):
        members[part] = []
    for track, assigned in zip(tracks, parts, strict=True):
        if assigned is not None:
            members[assigned].append(track)
    total = sum(map(len, members.values()))
    labels = tuple(sorted({track.label for chosen in members.values() for track in chosen}))
    base = _digest(
        [FORMAT_VERSION, versions(), config.name, dataclasses.astuple(config.front_end), config.dtype, labels]
    )
    limits = [config.min_frames, config.max_duration_s]
    shards = []
    for part, chosen in members.items():
        chosen.sort(key=lambda track: stable_hash(0, track.track_id))
        count = _num_shards(len(chosen), total, config.num_shards)
        for index in range(count):
            own = tuple(chosen[len(chosen) * index // count : len(chosen) * (index + 1) // count])
            identity = [(track.track_id, track.label, track.group, track.size) for track in own]
            file = shard_file(config.name, part, index, count)
            shards.append(ShardPlan(part, file, own, _digest([base, limits, part, file, identity])))
    fingerprint = _digest([base, dict(split), [shard.fingerprint for shard in shards]])
    return Plan(labels, tuple(members), tuple(shards), split, base, fingerprint)


def _num_shards(tracks: int, total: int, wanted: int | None) -> int:
    if wanted is not None:
        return min(tracks, max(1, round(wanted * tracks / total)))
    shard_tracks = min(_MAX_SHARD_TRACKS, max(_MIN_SHARD_TRACKS, total // _SHARDS))
    return math.ceil(tracks / shard_tracks)


def _part_order(part: str) -> tuple[int, int, str]:
    if part in ("train", "valid", "test"):
        return (0, ("train", "valid", "test").index(part), part)
    stem, _, number = part.rpartition("_")
    return (1, int(number) if number.isdigit() else 0, stem)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("ascii")).hexdigest()


def plan_job(config: JobConfig, tracks: Sequence[Track]) -> Plan:
    """Deals tracks into parts and shards, and tells what a person should know of the outcome.

    Raises:
      UserError: one label only, fewer groups than parts, lists that do not fit the tracks.
    """
    tracks, merged = _label(config, tracks)
    grouping = group_tracks(config, tracks)
    tracks = grouping.tracks
    parts, split = _deal(config.split, grouping)
    trained = {track.label for track, part in zip(tracks, parts, strict=True) if part is not None}
    if len(trained) < 2:
        raise UserError(
            f"{config.source}: only one label, {min(trained)!r}: nothing to tell apart; "
            "put each genre's files in a folder of its own"
        )
    if left_out := parts.count(None):
        log(f"{left_out} tracks are in none of the lists and are left out")
    groups = {track.group for track, part in zip(tracks, parts, strict=True) if part is not None}
    torn = splits.torn_groups(tracks, parts)
    if torn:
        log(f"warning: {len(torn)} groups are in more than one part ({first_few(torn)}): scores will look too good")
    grouped = any(track.group != track.track_id for track in tracks)
    split |= {"groups": len(groups), "grouped": grouped, "group_safe": not torn}
    if grouping.table:
        split["group_table"] = grouping.table
    if grouping.cut_recordings:
        split["cut_recordings"] = grouping.cut_recordings
    if merged:
        split["merged_labels"] = merged
    plan = make_plan(config, tracks, parts, split)
    log(f"{config.source}: {plan.num_tracks} tracks, {len(plan.labels)} labels, {len(plan.shards)} shards")
    _tell_parts(plan)
    return plan


def _label(config: JobConfig, tracks: Sequence[Track]) -> tuple[Sequence[Track], dict[str, list[str]]]:
    """The tracks with the labels that the job trains, and the spellings of those that were made one."""
    if config.split.split_folders:
        tracks = labels.label_below_parts(tracks, config.label_folder)
    tracks, merged = labels.merge_labels(tracks) if config.merge_labels else (tracks, {})
    if merged:
        log(f"labels made one: {first_few([' and '.join(map(repr, same)) for same in merged.values()], '; ')}")
    labels.warn_of_labels(config, tracks)
    return tracks, merged


def _deal(split: SplitConfig, grouping: Grouping) -> tuple[list[str | None], dict[str, Any]]:
    """A part for each track (None: left out), and how it came about."""
    tracks = grouping.tracks
    if split.split_folders:
        return list(labels.assign_by_folders(tracks)), {"method": "folders"}
    if split.split_lists:
        return splits.assign_by_lists(tracks, splits.read_lists(split.split_lists)), {"method": "lists"}
    if split.train_size is not None:
        weights = splits.size_weights(split.train_size, split.valid_size)
        how: dict[str, Any] = {"method": "sizes", "weights": weights, "seed": split.seed}
    else:
        folds = grouping.folds if split.folds is None else split.folds
        weights = splits.fold_weights(folds)
        how = {"method": "folds", "folds": folds, "seed": split.seed}
    advice = {"advice": "or take the pieces of one recording for tracks of their own: --groups=none"}
    chosen = advice if grouping.cut_recordings else {}
    return list(splits.assign(tracks, weights, seed=split.seed, **chosen)), how


def _tell_parts(plan: Plan) -> None:
    counts = plan.label_counts()
    rows = [[part, *(str(counts[part][label]) for label in plan.labels)] for part in plan.parts]
    log(align_columns([["part", *plan.labels], *rows]))
    lacking = {part: [label for label in plan.labels if not counts[part][label]] for part in plan.parts}
    missing = [f"{part} lacks {', '.join(labels)}" for part, labels in lacking.items() if labels]
    if missing:
        log(f"warning: too few groups to have each label in each part: {first_few(missing, '; ')}")
