"""Checks a dataset against its manifest: sizes, checksums, counts, statistics, and that every record parses."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfrecords.manifest import BandStatistics, Manifest, Part
from tfrecords.records import check_label, iterate_any_label
from tfrecords.schema import DTYPES, Record
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
            yield from _content_problems(manifest, Path(data_dir), name, part_of_group)
        except ShardError as error:
            yield str(error)


def _damaged_files(part: Part, data_dir: Path) -> Iterator[str]:
    for shard in part.shards:
        path = data_dir / shard.file
        try:
            if not path.is_file():
                yield f"{path}: missing"
            elif path.stat().st_size != shard.bytes:
                yield f"{path}: {path.stat().st_size} bytes, the manifest says {shard.bytes}; {_first_error(path)}"
            elif _sha256(path) != shard.sha256:
                yield f"{path}: its SHA-256 is not the manifest's; {_first_error(path)}"
        except OSError as error:
            yield f"{path}: cannot be read: {error.strerror}"


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


def _content_problems(manifest: Manifest, data_dir: Path, part: str, part_of_group: dict[str, str]) -> Iterator[str]:
    expected = manifest.parts[part]
    tracks: Counter[str] = Counter(dict.fromkeys(manifest.labels, 0))
    record_frames: Counter[int] = Counter()
    statistics = BandStatistics.empty(manifest.mel_bands)
    for shard in expected.shards:
        path, records, frames = data_dir / shard.file, 0, 0
        for record in iterate_any_label(manifest, path):
            records += 1
            frames += len(record.log_mel)
            record_frames[len(record.log_mel)] += 1
            with np.errstate(invalid="ignore"):  # What is not finite gets a line of its own.
                statistics = statistics.merge(BandStatistics.of(record.log_mel))
            if record.segment == 0 and 0 <= record.label < len(manifest.labels):
                tracks[manifest.labels[record.label]] += 1
            for problem in _record_problems(manifest, record, part, part_of_group.setdefault(record.group, part)):
                yield f"{path}: {record.track_id}: {problem}"
        if (records, frames) != (shard.records, shard.frames):
            stated = f"{shard.records} records of {shard.frames} frames"
            yield f"{path}: found {records} records of {frames} frames, the manifest says {stated}"
    for what, found, listed in (
        ("tracks per label", dict(tracks), dict(expected.tracks)),
        ("record lengths", dict(record_frames), dict(expected.record_frames)),
    ):
        if found != listed:
            yield f"{part}: {what}: found {found}, the manifest says {listed}"
    if not _alike(statistics, expected.statistics, manifest.dtype):
        yield f"{part}: its records do not have the mean and variance that the manifest says"


def _record_problems(manifest: Manifest, record: Record, part: str, part_of_group: str) -> Iterator[str]:
    try:
        check_label(manifest, record)
    except ValueError as error:
        yield str(error)
    if not np.isfinite(record.log_mel).all():
        yield "holds values that are not finite"
    if part != part_of_group and manifest.split.get("group_safe", True):
        yield f"its group {record.group!r} is in {part_of_group} too"


def _alike(found: BandStatistics, stated: BandStatistics, dtype: str) -> bool:
    """Whether statistics of rounded records can be those of what was rounded.

    Rounding moves a value x by at most eps / 2 |x|, so mean and standard deviation by eps / 2 times the root mean
    square of x at most; twice that leaves room for sums in another order.
    """
    limits = np.finfo(DTYPES[dtype])
    root_mean_square = np.sqrt(stated.mean**2 + stated.variance)
    tolerance = float(limits.eps) * root_mean_square + float(limits.smallest_subnormal)
    return found.count == stated.count and all(
        bool(np.all(np.abs(one - other) <= tolerance))
        for one, other in ((found.mean, stated.mean), (np.sqrt(found.variance), np.sqrt(stated.variance)))
    )
