"""Checks a dataset against its manifest: sizes, checksums, counts, and that every record parses."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfrecords.manifest import Manifest, Part
from tfrecords.records import iterate
from tfrecords.shard import ShardError, read_records


def problems(manifest: Manifest, data_dir: str | Path) -> Iterator[str]:
    """Yields one line for each thing that is not as the manifest says; nothing for a sound dataset."""
    part_of_group: dict[str, str] = {}
    for name, part in manifest.parts.items():
        damaged = list(_damaged_files(part, Path(data_dir)))
        yield from damaged
        if damaged:
            continue
        try:
            yield from _content_problems(manifest, data_dir, name, part_of_group)
        except ShardError as error:
            yield str(error)


def _damaged_files(part: Part, data_dir: Path) -> Iterator[str]:
    for shard in part.shards:
        path = data_dir / shard.file
        if not path.is_file():
            yield f"{path}: missing"
        elif path.stat().st_size != shard.bytes:
            yield f"{path}: {path.stat().st_size} bytes, the manifest says {shard.bytes}; {_first_error(path)}"
        elif _sha256(path) != shard.sha256:
            yield f"{path}: its SHA-256 is not the manifest's; {_first_error(path)}"


def _first_error(path: Path) -> str:
    try:
        with path.open("rb") as file:
            count = sum(1 for _ in read_records(file, path.name))
    except ShardError as error:
        return str(error)
    return f"its {count} records have good checksums, so it is another file, not a damaged one"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_problems(
    manifest: Manifest, data_dir: str | Path, part: str, part_of_group: dict[str, str]
) -> Iterator[str]:
    counts: Counter[str] = Counter()
    tracks: Counter[str] = Counter(dict.fromkeys(manifest.labels, 0))
    record_frames: Counter[int] = Counter()
    torn_groups_allowed = not manifest.split.get("group_safe", True)
    for record in iterate(manifest, data_dir, part):
        counts.update(records=1, frames=len(record.log_mel))
        record_frames[len(record.log_mel)] += 1
        if not 0 <= record.label < len(manifest.labels):
            yield f"{part}: {record.track_id}: label {record.label} is none of the {len(manifest.labels)} labels"
            continue
        if record.segment == 0:
            tracks[manifest.labels[record.label]] += 1
        if not np.isfinite(record.log_mel).all():
            yield f"{part}: {record.track_id}: holds values that are not finite"
        other = part_of_group.setdefault(record.group, part)
        if other != part and not torn_groups_allowed:
            yield f"{part}: {record.track_id}: its group {record.group!r} is in {other} too"
    expected = manifest.parts[part]
    for what, found, stated in (
        ("records", counts["records"], expected.records),
        ("frames", counts["frames"], sum(shard.frames for shard in expected.shards)),
        ("tracks per label", dict(tracks), dict(expected.tracks)),
        ("record lengths", dict(record_frames), dict(expected.record_frames)),
        ("frames in the statistics", expected.statistics.count, counts["frames"]),
    ):
        if found != stated:
            yield f"{part}: {what}: found {found}, the manifest says {stated}"
