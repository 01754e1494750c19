"""The plan of a job: which tracks make which shard. Made by the launcher, read back line by line by the workers.

Only paths are planned and passed around; no spectrogram ever leaves the worker that made it.
"""

import dataclasses
import hashlib
import json
import math
import operator
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from beam_preprocess.config import JobConfig
from beam_preprocess.splits import stable_hash
from beam_preprocess.tracks import Track
from beam_preprocess.versions import versions
from tfrecords.manifest import FORMAT_VERSION
from tfrecords.shard import shard_file

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
