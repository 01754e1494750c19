"""Shards mapped into memory: where their records lie, and views of the records' log-mel, which nothing copies."""

import mmap
import os
from collections.abc import Iterator, Sequence, Set
from itertools import pairwise
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tfrecords import schema
from tfrecords.dataset import Dataset
from tfrecords.manifest import Shard
from tfrecords.schema import DTYPES
from tfrecords.shard import CRC_BYTES, HEADER_BYTES, ShardError, check_record, record_bounds
from tfrecords.shard_cache import FetchAhead

# Shards of so many bytes together stay mapped: mapping them again for each block would cost more than reading them.
_MAX_MAPPED_BYTES = 1 << 30
# The bits of a float16's exponent, all set in infinities and NaN.
_EXPONENT = np.uint16(0x7C00)


class MappedRecords(NamedTuple):
    """Some records of one shard, read and checked.

    Attributes:
      data: the bytes that hold them, a view of the file.
      begin: [records] int64, where in the data each record's log-mel begins.
      frames: [records] int64.
      labels: [records] int64, indices into the manifest's labels.
      track_ids: [records] object, as bytes; empty where they are not wanted.
    """

    data: memoryview
    begin: np.ndarray
    frames: np.ndarray
    labels: np.ndarray
    track_ids: np.ndarray


class MappedShards:
    """The shards of some parts, of which any records can be read.

    Shards that are small together stay mapped, and a record of theirs is checked when it is first read. Of others, only
    what is in use is mapped, and checked each time. Of shards in a store, the copies in the dataset's cache are mapped.

    Args:
      dataset: the dataset.
      parts: names of the parts, selected.
      with_track_ids: whether track ids are wanted.

    Raises:
      UserError: a shard is missing or has another size.
    """

    def __init__(self, dataset: Dataset, parts: Sequence[str], *, with_track_ids: bool) -> None:
        self.dataset = dataset
        self.files = dataset.check_files(parts)
        self.shards: list[Shard] = [shard for part in parts for shard in dataset.manifest.parts[part].shards]
        self._with_track_ids = with_track_ids
        # What is mapped takes room on the disk also where the cache has removed it.
        limit = min(_MAX_MAPPED_BYTES, dataset.cache.max_bytes) if dataset.is_remote else _MAX_MAPPED_BYTES
        self._stays_mapped = sum(shard.bytes for shard in self.shards) <= limit
        self._mapped: dict[int, memoryview] = {}
        self._indices: dict[int, _Index] = {}

    @property
    def records(self) -> list[int]:
        """Number of records of each shard."""
        return [shard.records for shard in self.shards]

    def fetch_ahead(self, rounds: Iterator[tuple[Any, Set[int]]]) -> FetchAhead | None:
        """Return what fetches shards into the cache ahead of a reader; None of a dataset on this machine.

        Args:
          rounds: as of `FetchAhead`, the numbers of shards.
        """
        if not self.dataset.is_remote:
            return None
        return FetchAhead(
            rounds,
            fetch=lambda shard: self._open(shard).close(),
            size=lambda shard: self.shards[shard].bytes,
            # As much stays for what is being read: further ahead, shards would be removed before their turn.
            max_bytes=self.dataset.cache.max_bytes // 2,
        )

    def frames(self) -> np.ndarray:
        """Return the number of frames of every record, [records] int64: as the manifest says, or else each record.

        Raises:
          ShardError: a shard cannot be read or is corrupt, or a record does not parse; checksums are not compared.
        """
        found = [np.zeros(0, np.int64)]
        for shard, stated in enumerate(self.shards):
            try:
                frames = stated.record_frames()
            except ValueError as error:
                raise ShardError(f"{self.dataset.location}: {error}") from None
            found.append(self._located(shard).frames if frames is None else frames)
        return np.concatenate(found)

    def labels(self) -> np.ndarray:
        """Return the label of every record, [records] int64, as each says; all shards are read for that.

        Raises:
          ShardError: as `frames`.
        """
        of_shards = [self._located(shard).labels for shard in range(len(self.shards))]
        return np.concatenate([np.zeros(0, np.int64), *of_shards])

    def _located(self, shard: int) -> "_Index":
        """Return the index of a shard with all its records' places; errors as of `frames`."""
        index = self._index(shard)
        if index.frames.all():
            return index
        offsets = index.offsets.tolist()
        data = self._data(shard, 0, offsets[-1], populate=False)
        for number, (begin, end) in enumerate(pairwise(offsets)):
            try:
                self._locate(shard, number, data[begin + HEADER_BYTES : end - CRC_BYTES])
            except ShardError:
                # A record that is damaged is not one that was written so.
                check_record(np.frombuffer(data[begin:end], np.uint8), self.files[shard], begin)
                raise
        return index

    def read(self, shard: int, begin: int, end: int) -> MappedRecords:
        """Return the records of a shard from one number to before another.

        Raises:
          ShardError: the shard cannot be read, has changed or is corrupt, or a record does not parse or has no known
            label; the message names the file, and the offset in bytes or the record's number.
        """
        index = self._index(shard)
        offsets = index.offsets[begin : end + 1].tolist()
        start = offsets[0]
        data = self._data(shard, start, offsets[-1], populate=not self._stays_mapped)
        framed, track_ids = np.frombuffer(data, np.uint8), []
        is_checked = index.checked[begin:end] & self._stays_mapped
        # Most often there is nothing left to do.
        for place in np.flatnonzero(~is_checked | self._with_track_ids).tolist():
            number, first, last = begin + place, offsets[place] - start, offsets[place + 1] - start
            if not is_checked[place]:
                check_record(framed[first:last], self.files[shard], offsets[place])
            if self._with_track_ids or not index.frames[number]:
                track_ids.append(self._locate(shard, number, data[first + HEADER_BYTES : last - CRC_BYTES]))
            if not is_checked[place]:
                self._check_values(shard, number, data[first + HEADER_BYTES : last])
                index.checked[number] = True
        chosen = slice(begin, end)
        places = index.offsets[chosen] - start + HEADER_BYTES + index.begin[chosen]
        return MappedRecords(
            data,
            places,
            index.frames[chosen],
            index.labels[chosen],
            np.array(track_ids if self._with_track_ids else (), object),
        )

    def _locate(self, shard: int, number: int, record: memoryview) -> bytes:
        """Fill in a record's place in its shard's index, and return its track id."""
        manifest, index = self.dataset.manifest, self._index(shard)
        try:
            found = schema.locate(record, mel_bands=manifest.mel_bands, dtype=manifest.dtype)
            manifest.check_label(found.label)
        except ValueError as error:
            raise ShardError(f"{self.files[shard]}: record {number}: {error}") from None
        index.begin[number], index.frames[number], index.labels[number] = found.begin, found.frames, found.label
        return found.track_id

    def _check_values(self, shard: int, number: int, record: memoryview) -> None:
        """Raise ShardError if a located record holds values that are not finite: a job writes none."""
        manifest, index = self.dataset.manifest, self._index(shard)
        values = int(index.frames[number]) * manifest.mel_bands
        log_mel = np.frombuffer(record, DTYPES[manifest.dtype], values, int(index.begin[number]))
        # NumPy takes far longer for half the bytes in float16.
        if manifest.dtype == "float16":
            bits = log_mel.view(np.uint16)
            # Where none is negative, as log10(1 + 10000 x) never is, the largest number has the largest exponent.
            is_finite = bits.max() < _EXPONENT or (bits & _EXPONENT).max() != _EXPONENT
        else:
            is_finite = np.isfinite(log_mel).all()
        if not is_finite:
            raise ShardError(f"{self.files[shard]}: record {number}: holds values that are not finite")

    def _index(self, shard: int) -> "_Index":
        if shard not in self._indices:
            name, expected = self.files[shard], self.shards[shard].records
            with self._open(shard) as file:
                offsets = np.array(list(record_bounds(file, name)), np.int64)
            if len(offsets) - 1 != expected:
                raise ShardError(f"{name}: has {len(offsets) - 1} records; the manifest says {expected}")
            self._indices[shard] = _Index.of(offsets)
        return self._indices[shard]

    def _data(self, shard: int, begin: int, end: int, *, populate: bool) -> memoryview:
        """Return a shard's bytes from `begin` to before `end`."""
        if not self._stays_mapped:
            return self._map(shard, begin, end, populate=populate)
        if shard not in self._mapped:
            self._mapped[shard] = self._map(shard, 0, int(self._index(shard).offsets[-1]), populate=False)
        # A copy in the cache is replaced or removed, never changed.
        if not self.dataset.is_remote:
            _check_size(self.files[shard], end)
        return self._mapped[shard][begin:end]

    def _map(self, shard: int, begin: int, end: int, *, populate: bool) -> memoryview:
        if begin == end:
            return memoryview(b"")
        with self._open(shard) as file:
            return _map(file, self.files[shard], begin, end, populate=populate)

    def _open(self, shard: int) -> BinaryIO:
        return self.dataset.open(self.shards[shard])


class _Index(NamedTuple):
    """Where the records of a shard lie.

    Attributes:
      offsets: [records + 1] int64, where each record begins, and where the last one ends.
      begin: [records] int64, where a record's log-mel begins, from the end of the record's header.
      frames: [records] int64, 0 as long as a record has not been located.
      labels: [records] int64.
      checked: [records] bool, whether a record's checksum has been compared.
    """

    offsets: np.ndarray
    begin: np.ndarray
    frames: np.ndarray
    labels: np.ndarray
    checked: np.ndarray

    @classmethod
    def of(cls, offsets: np.ndarray) -> "_Index":
        """Return the index of records that are not located yet."""
        begin, frames, labels = np.zeros((3, len(offsets) - 1), np.int64)
        return cls(offsets, begin, frames, labels, np.zeros(len(offsets) - 1, bool))


def _map(file: BinaryIO, name: str, begin: int, end: int, *, populate: bool) -> memoryview:
    """Return a view of a file's bytes from `begin` to before `end`; the last view of it unmaps them.

    Args:
      file: open for reading; it may be closed while views are left.
      name: its name in errors.
      begin: offset of the first byte.
      end: offset of the byte after the last.
      populate: whether all of them are going to be read.

    Raises:
      ShardError: the file cannot be read, or is shorter by now.
    """
    start = begin - begin % mmap.ALLOCATIONGRANULARITY
    _check_size(name, end, file.fileno())
    # Populated at once, pages take a fraction of the time that faults one by one do.
    flags = mmap.MAP_SHARED | (getattr(mmap, "MAP_POPULATE", 0) if populate else 0)
    try:
        mapped = mmap.mmap(file.fileno(), end - start, flags=flags, prot=mmap.PROT_READ, offset=start)
    except OSError as error:
        raise ShardError(f"{name} cannot be read: {error.strerror}") from None
    return memoryview(mapped)[begin - start :]


def _check_size(path: str, end: int, descriptor: int | None = None) -> None:
    """Raise ShardError where a file has become shorter: reading what lies behind its end would kill the process."""
    try:
        size = os.stat(path if descriptor is None else descriptor).st_size  # noqa: PTH116 - descriptors have no path.
    except OSError as error:
        raise ShardError(f"{path} cannot be read: {error.strerror}") from None
    if size < end:
        raise ShardError(f"{path}: has changed while it was read: it ends at byte {size}, not at {end} or after")
