"""A dataset: a directory of shards and its manifest. Read it as NumPy records, verify it, describe it.

Nothing here imports TensorFlow, except `Dataset.batches`.
"""

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from tfrecords import storage
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import align_columns
from tfrecords.manifest import BandStatistics, Manifest, Part, Shard, lengths_text
from tfrecords.schema import DTYPES, Record
from tfrecords.shard import ShardError, open_shard, read_records
from tfrecords.shard_cache import ShardCache

if TYPE_CHECKING:
    import tensorflow as tf


class Dataset:
    """A dataset's directory and its manifest, which is read once.

    Args:
      location: the dataset's directory, a path or a URL such as gs://bucket/data.
      manifest: the manifest, if it has been read already.
      cache: where shards of a store are kept on this machine; by default `ShardCache.of()`.

    Attributes:
      location: the directory.
      manifest: the manifest.

    Raises:
      UserError: there is no manifest, it cannot be read, or it is damaged.

    Example::

      dataset = tfrecords.Dataset("DATA")
      print(dataset.info())
      for record in dataset.records("fold_0"):
          print(record.track_id, dataset.manifest.labels[record.label], record.log_mel.shape)
      batches = dataset.batches(parts=["fold_0"], training=True)
    """

    def __init__(
        self, location: storage.Location, manifest: Manifest | None = None, *, cache: ShardCache | None = None
    ) -> None:
        try:
            self.location = storage.as_location(location)
        except OSError as error:
            raise UserError(f"{location}: {error.strerror}") from None
        self.manifest = Manifest.load(location) if manifest is None else manifest
        self._cache = cache

    @classmethod
    def of(cls, data: "storage.Location | Dataset") -> "Dataset":
        """Return a dataset as it is, or open the one in a directory."""
        return data if isinstance(data, Dataset) else cls(data)

    def path(self, shard: Shard) -> str:
        """Return the location of a shard's file."""
        return storage.join(self.location, shard.file)

    @property
    def is_remote(self) -> bool:
        """Whether the dataset is in a store."""
        return storage.is_remote(self.location)

    @functools.cached_property
    def cache(self) -> ShardCache:
        """Where shards of a store are kept on this machine.

        Raises:
          UserError: as `ShardCache.of`.
        """
        return self._cache or ShardCache.of()

    def open(self, shard: Shard) -> BinaryIO:
        """Open a shard's file for reading; of a store's, the copy in the cache, where it is fetched to first.

        Raises:
          ShardError: it cannot be read, or is not the one that the manifest describes.
        """
        path = self.path(shard)
        return self.cache.open(path, shard) if self.is_remote else open_shard(path)

    def records(self, part: str) -> Iterator[Record]:
        """Yield the records of a part, in order.

        Raises:
          ShardError: as `shard_records`.
        """
        for shard in self.manifest.parts[part].shards:
            yield from self.shard_records(shard)

    def shard_records(self, shard: Shard, *, any_label: bool = False) -> Iterator[Record]:
        """Yield the records of one shard, in order.

        Args:
          shard: one of the manifest's.
          any_label: whether to yield records with a label that is not in the manifest, too.

        Raises:
          ShardError: the shard cannot be read, is torn or corrupt, or a record does not parse or has no known label;
            the message names the file, and the offset in bytes or the record's number.
        """
        with self.open(shard) as file:
            yield from self._decode(file, self.path(shard), any_label=any_label)

    def _decode(self, file: BinaryIO, path: str, *, any_label: bool) -> Iterator[Record]:
        for index, serialized in enumerate(read_records(file, path)):
            try:
                record = self.manifest.decode(serialized, any_label=any_label)
            except ValueError as error:
                raise ShardError(f"{path}: record {index}: {error}") from None
            yield record

    def batches(self, **options: Any) -> "tf.data.Dataset":
        """Return batches of patches as a tf.data.Dataset; options and errors are those of `tfrecords.load`."""
        from tfrecords.reader import load

        return load(self, **options)

    def check_files(self, parts: Iterable[str]) -> list[str]:
        """Return the paths of the parts' shards, after comparing the files' sizes with the manifest.

        Raises:
          UserError: a shard is missing or has another size, the directory cannot be listed, or there is no such part.
        """
        try:
            sizes = storage.list_files(self.location)
            return [
                self._check_file(shard, sizes.get(shard.file))
                for part in self.manifest.select(parts)
                for shard in self.manifest.parts[part].shards
            ]
        except OSError as error:
            raise UserError(f"{self.location} cannot be listed: {error.strerror}") from None

    def _check_file(self, shard: Shard, size: int | None) -> str:
        """Return a shard's path, unless its size differs."""
        path = self.path(shard)
        if size != shard.bytes and self.is_remote:
            # A list may be older than what the store holds.
            size = storage.size(path)
        if size != shard.bytes:
            state = "missing" if size is None else f"{size} bytes"
            raise UserError(f"{path} should hold {shard.bytes} bytes but is {state}; write the dataset again")
        return path

    def verify(self) -> Iterator[str]:
        """Read the whole dataset and yield one line for each difference from the manifest; none for a sound dataset.

        Compared are sizes, checksums, counts and statistics. Every record must parse, hold finite values and a known
        label, and its group must be in no other part, unless the split was given so.
        """
        part_of_group: dict[str, str] = {}
        for name, part in self.manifest.parts.items():
            damaged = list(self._damaged_files(part))
            yield from damaged
            if not damaged:
                try:
                    yield from self._content_problems(name, part, part_of_group)
                except ShardError as error:
                    yield str(error)

    def info(self) -> str:
        """Return several lines: sizes, front end, split, rejects, fingerprint, and tracks per part and label."""
        manifest = self.manifest
        parts = manifest.parts.values()
        shards = [shard for part in parts for shard in part.shards]
        hours = sum(shard.frames for shard in shards) / manifest.frames_per_s / 3600
        rejects = ", ".join(f"{count} {reason}" for reason, count in manifest.rejects.items()) or "none"
        return "\n".join(
            [
                f"{manifest.name}: {sum(part.records for part in parts)} records in {len(shards)} shards, "
                f"{sum(shard.bytes for shard in shards) / 1e6:.1f} MB, {hours:.2f} hours",
                "front end: " + ", ".join(f"{name} {value}" for name, value in manifest.front_end.items()),
                f"records: [frames, {manifest.mel_bands}] {manifest.dtype}",
                "split: " + ", ".join(f"{name} {value}" for name, value in manifest.split.items()),
                f"rejects: {rejects}",
                f"fingerprint: {manifest.fingerprint}",
                "",
                _part_label_table(manifest),
            ]
        )

    def _damaged_files(self, part: Part) -> Iterator[str]:
        for shard in part.shards:
            path = self.path(shard)
            try:
                size = storage.size(path)
                if size is None:
                    yield f"{path}: missing"
                elif size != shard.bytes:
                    yield f"{path}: {size} bytes, the manifest says {shard.bytes}; {_first_error(path)}"
                elif _sha256(path) != shard.sha256:
                    yield f"{path}: its SHA-256 is not the manifest's; {_first_error(path)}"
            except OSError as error:
                yield f"{path}: cannot be read: {error.strerror}"

    def _content_problems(self, name: str, part: Part, part_of_group: dict[str, str]) -> Iterator[str]:
        labels = self.manifest.labels
        tracks: Counter[str] = Counter(dict.fromkeys(labels, 0))
        record_frames: Counter[int] = Counter()
        statistics = BandStatistics.empty(self.manifest.mel_bands)
        for shard in part.shards:
            path, lengths = self.path(shard), list[int]()
            # Not by the cache, which need not make room for what is read once.
            with open_shard(path) as file:
                for record in self._decode(file, path, any_label=True):
                    lengths.append(len(record.log_mel))
                    record_frames[len(record.log_mel)] += 1
                    with np.errstate(invalid="ignore"):  # Values that are not finite are reported by record.
                        statistics = statistics.merge(BandStatistics.of(record.log_mel))
                    if record.segment == 0 and 0 <= record.label < len(labels):
                        tracks[labels[record.label]] += 1
                    for problem in self._record_problems(record, name, part_of_group.setdefault(record.group, name)):
                        yield f"{path}: {record.track_id}: {problem}"
            if (len(lengths), sum(lengths)) != (shard.records, shard.frames):
                stated = f"{shard.records} records of {shard.frames} frames"
                yield f"{path}: found {len(lengths)} records of {sum(lengths)} frames, the manifest says {stated}"
            elif shard.lengths and shard.lengths != lengths_text(lengths):
                yield f"{path}: its records have not the lengths that the manifest says"
        for what, found, listed in (
            ("tracks per label", dict(tracks), dict(part.tracks)),
            ("record lengths", dict(record_frames), dict(part.record_frames)),
        ):
            if found != listed:
                yield f"{name}: {what}: found {found}, the manifest says {listed}"
        if not _statistics_agree(statistics, part.statistics, self.manifest.dtype):
            yield f"{name}: its records do not have the mean and variance that the manifest says"

    def _record_problems(self, record: Record, part: str, part_of_group: str) -> Iterator[str]:
        try:
            self.manifest.check_label(record.label)
        except ValueError as error:
            yield str(error)
        if not np.isfinite(record.log_mel).all():
            yield "holds values that are not finite"
        if part != part_of_group and self.manifest.split.get("group_safe", True):
            yield f"its group {record.group!r} is in {part_of_group} too"


def _part_label_table(manifest: Manifest) -> str:
    """Return tracks per part and label, aligned, with totals."""
    total = manifest.tracks(["all"])
    counts = {name: [part.tracks[label] for label in manifest.labels] for name, part in manifest.parts.items()}
    counts["all"] = list(total.values())
    rows = [[name, *map(str, row), str(sum(row))] for name, row in counts.items()]
    return align_columns([["part", *manifest.labels, "all"], *rows])


def _first_error(path: str) -> str:
    try:
        with storage.open_file(path) as file:
            count = sum(1 for _ in read_records(file, storage.split(path)[1]))
    except ShardError as error:
        return str(error)
    return f"its {count} records have good checksums, so it is another file, not a damaged one"


def _sha256(path: str) -> str:
    with storage.open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _statistics_agree(found: BandStatistics, stated: BandStatistics, dtype: str) -> bool:
    """Return whether statistics of rounded records can be those of the values before rounding.

    Rounding moves a value x by at most eps / 2 |x|, so mean and standard deviation by eps / 2 times the root mean
    square of x at most; twice that leaves room for sums in another order.
    """
    limits = np.finfo(DTYPES[dtype])
    root_mean_square = np.sqrt(stated.mean**2 + stated.variance)
    tolerance = float(limits.eps) * root_mean_square + float(limits.smallest_subnormal)
    return found.count == stated.count and all(
        bool(np.all(np.abs(one - other) <= tolerance))
        for one, other in ((found.mean, stated.mean), (found.std, stated.std))
    )
