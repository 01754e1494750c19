"""What is said when a shard cannot be read, or turns out to be corrupt, in the middle of an epoch.

The order in which an epoch reads its records, and where in it a patch is found without reading what is before it.

Shards are taken in groups, and the shards of a group in turn, a record at a time. That is a rule simple enough to go
on from any record: whole groups are left out, and in the group where reading goes on, so many whole rounds.

Chunks of clips, read by Python, which moves a record's bytes once from its file and once into its chunk.

TensorFlow's own operations would move them five times on that way, most of them into memory that is fresh, and take
twice as long.

Clips in memory: read once, decoded and normalised, so that a batch is one copy.

Where the patches of each epoch come from, chunk by chunk: from shards, or from memory.
"""

import bisect
import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from tfrecords import schema
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics, Manifest, Shard
from tfrecords.patches import Clips, Cutter, select
from tfrecords.records import check_label, iterate_file, iterate_shard
from tfrecords.shard import ShardError, open_shard, read_records

# Of each `reading` under way, by its id: what was wrong with shards meanwhile, and with which text it was passed on.
_under_way: dict[int, list[tuple[ShardError, str]]] = {}


@contextlib.contextmanager
def raise_shard_errors() -> Iterator[None]:
    """Around whatever takes batches from `load`: what is wrong with a shard when it is read becomes a UserError.

    All other errors pass.

    Raises:
      UserError: a shard cannot be read or is corrupt, or a record does not parse; the message names the file, and the
        offset in bytes or the record.
    """
    faults: list[tuple[ShardError, str]] = []
    _under_way[id(faults)] = faults
    try:
        yield
    except ShardError as error:
        raise UserError(_told(error)) from None
    except tf.errors.OpError as error:
        # Shards are read ahead: while a fault waits for its turn, a model may fail by itself.
        for fault, text in faults:
            if text in error.message:
                raise UserError(_told(fault)) from None
        raise
    finally:
        del _under_way[id(faults)]


def passed_on(fault: ShardError) -> ShardError:
    """What to raise for a fault, which TensorFlow makes an error of its own; each `reading` under way keeps the fault.

    Its text is UTF-8, as of any other TensorFlow passes on nothing.
    """
    text = str(fault).encode("utf-8", "backslashreplace").decode("utf-8")
    for faults in list(_under_way.values()):
        faults.append((fault, text))
    return ShardError(text)


def _told(fault: ShardError) -> str:
    return f"{fault}; write the dataset again"


# Shards read side by side in training: clips of many shards meet in one shuffled chunk.
_GROUP = 16


@dataclasses.dataclass(frozen=True)
class EpochOrder:
    """The records of some shards, epoch after epoch.

    Attributes:
      files: paths of the shards.
      records: number of records of each.
      seed: of the order; None to read the shards one after another as they are listed.
    """

    files: Sequence[str]
    records: Sequence[int]
    seed: int | None

    def iterate(self, epoch: int, position: int = 0) -> Iterator[bytes]:
        """The serialized records of an epoch after the first `position`, which are not read.

        Raises:
          ShardError: a shard cannot be read, is torn or corrupt, or has other than its number of records.
        """
        shards = [(self.files[index], self.records[index]) for index in self._order(epoch)]
        group = 1 if self.seed is None else _GROUP
        passed, rest = seek([number for _, number in shards], position, group)
        for begin in range(0, len(shards), group):
            own = slice(begin, begin + group)
            for record in _in_turn(shards[own], passed[own]):
                if rest:
                    rest -= 1
                else:
                    yield record

    def _order(self, epoch: int) -> Sequence[int]:
        """Indices of the shards."""
        if self.seed is None:
            return range(len(self.files))
        # Where there is another device, too: what is drawn must not depend on it.
        with tf.device("/cpu:0"):
            order = tf.range(len(self.files), dtype=tf.int64)
            seed = epoch_order(self.seed, tf.constant(epoch, tf.int64))
            return tf.random.experimental.stateless_shuffle(order, seed).numpy().tolist()


def epoch_order(seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """The seed [2] int64 of all that is random in an epoch."""
    return tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])


def seek(records: Sequence[int], position: int, group: int) -> tuple[list[int], int]:
    """Where a position among records lies.

    Args:
      records: number of records of each shard, in order.
      position: so many records have been read.
      group: shards read in turn, a record from each.

    Returns:
      How many records of each shard are passed before the last whole round, and how many more after it.
    """
    passed: list[int] = []
    for begin in range(0, len(records), group):
        sizes = records[begin : begin + group]
        if position >= sum(sizes):
            passed.extend(sizes)
            position -= sum(sizes)
            continue
        rounds = bisect.bisect_right(
            range(max(sizes)), position, key=lambda count: sum(min(size, count) for size in sizes)
        )
        own = [min(size, rounds - 1) for size in sizes]
        return [*passed, *own, *[0] * (len(records) - begin - len(sizes))], position - sum(own)
    return passed, position


def _in_turn(shards: Sequence[tuple[str, int]], passed: Sequence[int]) -> Iterator[bytes]:
    """A record of each (path, number of records) after the other, without those passed at the head of each."""
    with contextlib.ExitStack() as opened:
        streams = [
            _whole(opened.enter_context(open_shard(path)), path, number, skip=skip)
            for (path, number), skip in zip(shards, passed, strict=False)
            if skip < number
        ]
        while streams:
            for stream in list(streams):
                record = next(stream, None)
                if record is None:
                    streams.remove(stream)
                else:
                    yield record


def _whole(file: BinaryIO, path: str, number: int, *, skip: int) -> Iterator[bytes]:
    found = skip
    for record in read_records(file, path, skip=skip):
        found += 1
        yield record
    if found != number:
        raise ShardError(f"{path}: has {found} records; the manifest says {number}")


# TensorFlow copies an array that does not begin at a multiple of this.
_ALIGNMENT = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChunkReader:
    """Reads records, some of them at a time.

    Attributes:
      reader: the records.
      manifest: of their dataset.
      cutter: what will be cut; frames that are in no patch are left out.
      chunk_records: records in a chunk; the last of an epoch may have fewer.
      max_rows: no chunk has more frames.
      with_track_id: whether to give the tracks' ids.
    """

    reader: EpochOrder
    manifest: Manifest
    cutter: Cutter
    chunk_records: int
    max_rows: int
    with_track_id: bool

    def dataset(self, epoch: int, end: int, first: int) -> tf.data.Dataset:
        """The chunks of some epochs; a shard or a record that cannot be read ends it with a ShardError's text.

        Args:
          epoch: the first epoch.
          end: the epoch after the last.
          first: the first chunk of the first epoch.

        Returns:
          A dataset of: epoch; number of the chunk in it; log_mel [rows, mel_bands], as stored: the frames of all clips,
          one clip after another; and by the features' names, frames [clips] int64, those left out included, label
          [clips] int64 and, if wanted, track_id [clips] string.
        """
        number, clip = tf.TensorSpec([], tf.int64), tf.TensorSpec([None], tf.int64)
        log_mel = tf.TensorSpec([None, self.manifest.mel_bands], self.manifest.dtype)
        about = {schema.FRAMES: clip, schema.LABEL: clip}
        if self.with_track_id:
            about[schema.TRACK_ID] = tf.TensorSpec([None], tf.string)

        def chunks() -> Iterator[tuple[int, int, np.ndarray, dict[str, np.ndarray]]]:
            # Of this stream alone: others of the same dataset may run beside it.
            pool = _Pool((self.max_rows, self.manifest.mel_bands), np.dtype(self.manifest.dtype))
            try:
                for number in range(epoch, end):
                    begin = first if number == epoch else 0
                    for chunk, (rows, told) in enumerate(self._chunks(pool, number, begin), begin):
                        yield number, chunk, rows, {name: told[name] for name in about}
            except ShardError as fault:
                raise passed_on(fault) from None

        return tf.data.Dataset.from_generator(chunks, output_signature=(number, number, log_mel, about))

    def patch_counts(self, epoch: int) -> Iterator[int]:
        """Number of patches of each chunk of an epoch, whose records are read for that.

        Raises:
          ShardError: a shard or a record cannot be read.
        """
        counts = (self.cutter.count(len(record.log_mel)) for record in self._records(epoch, 0))
        while chunk := list(itertools.islice(counts, self.chunk_records)):
            yield sum(chunk)

    def _chunks(self, pool: "_Pool", epoch: int, first: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        left = sum(self.reader.records) - first * self.chunk_records
        rows, filled, told = pool.take(), 0, list[tuple[int, int, bytes]]()
        for record in self._records(epoch, first * self.chunk_records):
            used = record.log_mel[: self.cutter.used(len(record.log_mel))]
            if filled + len(used) > len(rows):
                raise self._fault()
            rows[filled : filled + len(used)] = used
            filled += len(used)
            told.append((len(record.log_mel), record.label, schema.to_bytes(record.track_id)))
            left -= 1
            if not left or len(told) == self.chunk_records:
                yield rows[:filled], _columns(told)
                rows, filled, told = pool.take(), 0, []

    def _records(self, epoch: int, position: int) -> Iterator[schema.Record]:
        for serialized in self.reader.iterate(epoch, position):
            try:
                record = schema.decode(serialized, mel_bands=self.manifest.mel_bands, dtype=self.manifest.dtype)
                check_label(self.manifest, record)
            except ValueError:
                raise self._fault() from None
            yield record

    def _fault(self) -> ShardError:
        """What is wrong with the records, after one that could not be taken: they are read again, up to where it is."""
        try:
            for path in self.reader.files:
                for _ in iterate_file(self.manifest, path):
                    pass
        except ShardError as error:
            return error
        return ShardError(f"{Path(self.reader.files[0]).parent}: records have more frames than the manifest says")


def _columns(told: Sequence[tuple[int, int, bytes]]) -> dict[str, np.ndarray]:
    frames, labels, track_ids = zip(*told, strict=True)
    return {
        schema.FRAMES: np.array(frames),
        schema.LABEL: np.array(labels),
        schema.TRACK_ID: np.array(track_ids, object),
    }


class _Pool:
    """Arrays to fill, used again once TensorFlow has let go of them: fresh memory costs more than what goes into it.

    Of an array that is larger than what it holds, only the part that was written to takes memory.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype) -> None:
        self._shape = shape
        self._dtype = dtype
        self._bytes = math.prod(shape) * dtype.itemsize
        self._free: list[np.ndarray] = []

    def take(self) -> np.ndarray:
        """An array that nobody else has; what it holds is arbitrary. It comes back when its last view has gone."""
        memory = self._free.pop() if self._free else np.empty(self._bytes + _ALIGNMENT, np.uint8)
        begin = -memory.ctypes.data % _ALIGNMENT
        lent = np.asarray(_Loan(memory, self._free))
        return lent[begin : begin + self._bytes].view(self._dtype).reshape(self._shape)


class _Loan:
    """Memory that is lent: whatever NumPy makes of it, views of views included, holds this object as its base."""

    def __init__(self, memory: np.ndarray, free: list[np.ndarray]) -> None:
        self.__array_interface__ = memory.__array_interface__
        self._memory = memory
        self._free = free

    def __del__(self) -> None:
        self._free.append(self._memory)


def read_clips(
    manifest: Manifest,
    data_dir: str | Path,
    shards: Sequence[Shard],
    cutter: Cutter,
    *,
    statistics: BandStatistics | None,
    with_track_id: bool,
) -> Clips:
    """All the clips of some shards; their log_mel is float32 and, given statistics, normalised.

    Frames that are in no patch of the cutter's are left out.

    Raises:
      ShardError: a shard is missing, torn or corrupt; the message names file and offset.
    """
    log_mel = np.empty((sum(shard.frames for shard in shards), manifest.mel_bands), np.float32)
    first: list[int] = []
    frames: list[int] = []
    labels: list[int] = []
    track_ids: list[bytes] = []
    row = 0
    for shard in shards:
        for record in iterate_shard(manifest, data_dir, shard):
            used = record.log_mel[: cutter.used(len(record.log_mel))]
            first.append(row)
            frames.append(len(record.log_mel))
            labels.append(record.label)
            track_ids.append(schema.to_bytes(record.track_id))
            clip = log_mel[row : row + len(used)]
            clip[:] = used
            if statistics is not None:
                clip -= statistics.mean.astype(np.float32)
                clip *= 1 / statistics.scale.astype(np.float32)
            row += len(used)
    about = {schema.LABEL: tf.constant(labels, tf.int64)}
    if with_track_id:
        about[schema.TRACK_ID] = tf.constant(track_ids, tf.string)
    return Clips(tf.constant(log_mel[:row]), tf.constant(first, tf.int64), tf.constant(frames, tf.int64), about)


# Of stored data, shuffled as one; about four times as much is in use at once. Part of what decides the order.
_SHUFFLE_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True)
class HostShards:
    """The shards that one host reads.

    Attributes:
      manifest: of their dataset.
      data_dir: its directory.
      parts: the parts that are read.
      files: paths of the host's shards.
      shards: the same shards as the manifest has them.
      whole: whether these are all shards of the parts.
    """

    manifest: Manifest
    data_dir: str | Path
    parts: Sequence[str]
    files: Sequence[str]
    shards: Sequence[Shard]
    whole: bool

    @classmethod
    def of(
        cls, manifest: Manifest, data_dir: str | Path, parts: Sequence[str], *, host_index: int, num_hosts: int
    ) -> "HostShards":
        """Every num_hosts-th shard of the parts.

        Raises:
          UserError: a shard is missing or has another size, or there are fewer shards than hosts.
        """
        files = manifest.check_files(data_dir, parts)
        shards = [shard for part in parts for shard in manifest.parts[part].shards]
        if len(shards) < num_hosts:
            raise UserError(
                f"{data_dir}: {', '.join(parts)} have {len(shards)} shards, too few for {num_hosts} hosts; take fewer "
                "hosts, or write the dataset with more --num_shards"
            )
        own = slice(host_index, None, num_hosts)
        return cls(manifest, data_dir, parts, files[own], shards[own], whole=num_hosts == 1)

    @property
    def records(self) -> list[int]:
        """Number of records of each shard."""
        return [shard.records for shard in self.shards]

    @property
    def longest(self) -> int:
        """Frames of the longest record."""
        return max(frames for part in self.parts for frames in self.manifest.parts[part].record_frames)

    def patch_counts(self, cutter: Cutter) -> tuple[int | None, int | None]:
        """Number of patches of every record, and of all of them; None for what the manifest does not say."""
        tables = [self.manifest.parts[part].record_frames for part in self.parts]
        counts = {cutter.count(frames) for table in tables for frames in table}
        if len(counts) == 1:
            uniform = counts.pop()
            return uniform, uniform * sum(self.records)
        total = sum(cutter.count(frames) * number for table in tables for frames, number in table.items())
        return None, total if self.whole else None


@dataclasses.dataclass(frozen=True)
class ShardSource:
    """Patches of shards, chunk by chunk; in training each chunk is shuffled as one.

    Attributes:
      reader: of the chunks.
      total: number of patches of an epoch; None if it is not known.
      uniform: the number of patches of every clip, where all have the same, else None.
    """

    reader: ChunkReader
    total: int | None
    uniform: int | None

    @classmethod
    def of(cls, share: HostShards, cutter: Cutter, *, seed: int | None) -> "ShardSource":
        """The shards of a share; the order depends on seed, None for none."""
        record_bytes = sum(shard.bytes for shard in share.shards) / max(1, sum(share.records))
        chunk_records = max(1, int(_SHUFFLE_BYTES / max(1.0, record_bytes)))
        uniform, total = share.patch_counts(cutter)
        reader = ChunkReader(
            reader=EpochOrder(share.files, share.records, seed),
            manifest=share.manifest,
            cutter=cutter,
            chunk_records=chunk_records,
            max_rows=min(chunk_records * share.longest, sum(shard.frames for shard in share.shards)),
            with_track_id=seed is None,
        )
        return cls(reader, total, uniform)

    def count(self) -> int:
        """Number of patches of an epoch; reads the shards once where it is not known.

        Raises:
          ShardError: a shard cannot be read for that.
        """
        return sum(self.reader.patch_counts(0)) if self.total is None else self.total

    def chunks(self, epoch: int, end: int, skip: int) -> tf.data.Dataset:
        """(whether it is its epoch's last, where its patches lie) of each chunk.

        Args:
          epoch: the first epoch.
          end: the epoch after the last.
          skip: patches of the first epoch to leave out; chunks before them are not decoded.

        Raises:
          ShardError: a shard cannot be read for finding where those end.
        """
        begin, passed = self._chunk_of(epoch, skip)
        cutter, seed = self.reader.cutter, self.reader.reader.seed

        def indexed(
            epoch: tf.Tensor, chunk: tf.Tensor, log_mel: tf.Tensor, about: dict[str, tf.Tensor]
        ) -> tuple[tf.Tensor, Clips]:
            about = dict(about)
            frames = about.pop(schema.FRAMES)
            clips = Clips(log_mel, tf.cumsum(cutter.used_of(frames), exclusive=True), frames, about)
            order = None
            if seed is not None:
                order = tf.random.experimental.stateless_fold_in(epoch_order(seed, epoch), chunk)
            first = (epoch == first_epoch) & (chunk == begin)
            left_out = tf.where(first, tf.constant(skip - passed, tf.int64), tf.constant(0, tf.int64))
            return chunk == last, select(cutter.index(clips, order), slice(left_out, None))

        first_epoch, last = epoch, math.ceil(sum(self.reader.reader.records) / self.reader.chunk_records) - 1
        # One chunk is read while another is cut.
        return self.reader.dataset(epoch, end, begin).map(indexed).prefetch(1)

    def _chunk_of(self, epoch: int, patch: int) -> tuple[int, int]:
        """The chunk of an epoch that holds a patch, and the number of patches before that chunk."""
        if not patch:
            return 0, 0
        if self.uniform is not None:
            chunk = patch // (self.uniform * self.reader.chunk_records)
            return chunk, chunk * self.uniform * self.reader.chunk_records
        chunk, passed = 0, 0
        for count in self.reader.patch_counts(epoch):
            if passed + count > patch:
                break
            chunk, passed = chunk + 1, passed + count
        return chunk, passed


@dataclasses.dataclass(frozen=True)
class MemorySource:
    """Patches of clips in memory, all in one chunk.

    Attributes:
      clips: the clips.
      cutter: what patches are.
      seed: of the order; None for the clips' own order.
    """

    clips: Clips
    cutter: Cutter
    seed: int | None

    @classmethod
    def of(
        cls, share: HostShards, cutter: Cutter, *, statistics: BandStatistics | None, seed: int | None
    ) -> "MemorySource":
        """Reads a share's clips, normalised by statistics; the order depends on seed, None for none."""
        clips = read_clips(
            share.manifest, share.data_dir, share.shards, cutter, statistics=statistics, with_track_id=seed is None
        )
        return cls(clips, cutter, seed)

    def count(self) -> int:
        """Number of patches of an epoch."""
        return int(tf.reduce_sum(self.cutter.counts(self.clips.frames)))

    def chunks(self, epoch: int, end: int, skip: int) -> tf.data.Dataset:
        """As `Shards.chunks`."""

        def patches(number: tf.Tensor, clips: Clips) -> tuple[tf.Tensor, Clips]:
            order = None if self.seed is None else epoch_order(self.seed, number)
            left_out = tf.where(number == epoch, tf.constant(skip, tf.int64), tf.constant(0, tf.int64))
            return tf.constant(True), select(self.cutter.index(clips, order), slice(left_out, None))

        # Not captured by the function, clips stay out of the graph, which must not grow with them.
        numbers = tf.data.Dataset.range(epoch, end)
        return tf.data.Dataset.zip(numbers, tf.data.Dataset.from_tensors(self.clips).repeat()).map(patches)
