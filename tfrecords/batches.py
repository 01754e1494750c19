"""Batches as arrays: the rows of each, gathered from the mapped shards straight into the batch."""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from tfrecords.mapped_shards import MappedRecords, MappedShards
from tfrecords.patches import RANDOM, RESIZE, Normalizer, PatchExtractor, resize
from tfrecords.schema import DTYPES
from tfrecords.shard import ShardError
from tfrecords.streams import Block, PatchTable, Stream

# TensorFlow copies an array that does not begin at a multiple of so many bytes.
_ALIGNMENT = 64
# Batches that are filled at the same time: NumPy lets another thread run while it converts.
_THREADS = 2

# Patches [rows, frames, mel_bands, 1], labels [rows] int32 and, where wanted, track ids [rows] object.
Batch = tuple[np.ndarray, ...]


class PatchSource:
    """The records of some shards, and the patches that they are cut into.

    Args:
      shards: the shards.
      table: of their patches.
      extractor: what patches are.
      dtype: dtype of the batches, "float16" or "float32".
      normalizer: makes float32 of the records' log-mel.
      with_track_ids: whether batches hold track ids.
    """

    def __init__(
        self,
        shards: MappedShards,
        table: PatchTable,
        extractor: PatchExtractor,
        *,
        dtype: str,
        normalizer: Normalizer,
        with_track_ids: bool,
    ) -> None:
        manifest = shards.dataset.manifest
        self.table = table
        self.extractor = extractor
        self.with_track_ids = with_track_ids
        self.frame_bytes = manifest.mel_bands * DTYPES[manifest.dtype].itemsize
        self.shape = (extractor.frames, manifest.mel_bands)
        self._stored = np.dtype(np.float32 if extractor.mode == RESIZE else DTYPES[manifest.dtype])
        self.dtype = np.dtype(dtype)
        self._record_dtype = DTYPES[manifest.dtype]
        self._normalizer = normalizer
        self.converts = self.dtype != self._stored or not normalizer.is_identity
        self._shards = shards
        self._kept: dict[Block, MappedRecords] = {}

    def keep(self, blocks: Sequence[Block]) -> None:
        """Read blocks now, and keep them in memory.

        Raises:
          ShardError: as `records`.
        """
        with self.fetching_ahead((number, {block.shard}) for number, block in enumerate(blocks)) as reach:
            for number, block in enumerate(blocks):
                reach(number)
                records = self.records(block)
                self._kept[block] = records._replace(data=memoryview(bytes(records.data)))

    @contextlib.contextmanager
    def fetching_ahead(self, rounds: Iterator[tuple[Any, Set[int]]]) -> Iterator[Callable[[Any], None]]:
        """Fetch shards of a store ahead of a reader; the block gets a function to call as it comes to each round.

        Args:
          rounds: as of `tfrecords.shard_cache.FetchAhead`, the numbers of shards.
        """
        ahead = None if self._kept else self._shards.fetch_ahead(rounds)
        if ahead is None:
            yield lambda key: None
            return
        try:
            yield ahead.reach
        finally:
            ahead.close()

    def records(self, block: Block) -> MappedRecords:
        """Return the records of a block.

        Raises:
          ShardError: as `MappedShards.read`, or a record does not give as many patches as the table says.
        """
        if block in self._kept:
            return self._kept[block]
        records = self._shards.read(block.shard, block.begin, block.end)
        first = int(self.table.first_record[block.shard]) + block.begin
        expected = self.table.held_by(first, first + len(records.frames))
        for place in np.flatnonzero(self.extractor.counts(records.frames) != expected).tolist():
            raise ShardError(
                f"{self._shards.files[block.shard]}: record {block.begin + place}: has {records.frames[place]} frames, "
                "a length that the manifest does not say"
            )
        return records

    def fill(self, rows: Iterable[memoryview], out: np.ndarray) -> None:
        """Make patches of their bytes, those of their frames, in `out`, [rows, frames, mel_bands] of `dtype`."""
        if not self.converts:
            self._gather(rows, out)
            return
        # Few rows at a time, so that they are still in the processor's cache when they are converted.
        step = self._normalizer.rows
        gathered, remaining = np.empty((step, *self.shape), self._stored), iter(rows)
        for begin in range(0, len(out), step):
            piece = gathered[: len(out) - begin]
            self._gather(islice(remaining, len(piece)), piece)
            self._convert(piece, out[begin : begin + step])

    def _gather(self, rows: Iterable[memoryview], out: np.ndarray) -> None:
        """Copy patches to `out`, [rows, frames, mel_bands] of the records' dtype or, resized, float32."""
        if self.extractor.mode == RESIZE:
            for row, clip in zip(out, rows, strict=True):
                values = np.frombuffer(clip, self._record_dtype).reshape(-1, self.shape[1])
                row[...] = resize(values, self.extractor.frames)
            return
        target = out.reshape(-1).view(np.uint8).data
        size = self.extractor.frames * self.frame_bytes
        for place, row in zip(range(0, len(target), size), rows, strict=True):
            target[place : place + size] = row

    def _convert(self, gathered: np.ndarray, out: np.ndarray) -> None:
        if self.dtype == np.float32:
            self._normalizer(gathered, out)
        else:
            np.copyto(out, gathered, casting="same_kind")


class _Patches(NamedTuple):
    """Some patches of a window, none of them copied yet.

    Attributes:
      data: the bytes of each of the window's blocks.
      block: [rows] int64, the block of each patch.
      begin: [rows] int64, where in the block's bytes its frames begin: those of the whole clip, if it is to be resized.
      end: [rows] int64, where they end.
      labels: [rows] int32.
      track_ids: [rows] object; empty where they are not wanted.
    """

    data: Sequence[memoryview]
    block: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    labels: np.ndarray
    track_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.block)

    def part(self, begin: int, end: int) -> "_Patches":
        """Return those from one to before another."""
        return _Patches(self.data, *(values[begin:end] for values in self[1:]))

    def rows(self) -> Iterator[memoryview]:
        """Yield the bytes of each patch's frames.

        One at a time: many views alive at once would trigger full garbage collections.
        """
        for block, begin, end in zip(self.block.tolist(), self.begin.tolist(), self.end.tolist(), strict=True):
            yield self.data[block][begin:end]


def _window(source: PatchSource, stream: Stream, epoch: int, number: int) -> _Patches:
    """Return the patches of a window in their order."""
    blocks = stream.blocks(epoch, number)
    read = [source.records(block) for block in blocks]
    owners, position, of_block = [], [], []
    for place, block in enumerate(blocks):
        patches = np.arange(block.first_patch, block.last_patch)
        records_of = source.table.records_of(patches)
        position.append(source.table.positions(patches, records_of, epoch))
        owners.append(records_of - source.table.first_record[block.shard] - block.begin)
        of_block.append(np.full(len(patches), place))
    order = stream.shuffle(np.arange(sum(map(len, position))), epoch, number)
    # Where a record lies among those of all blocks.
    offsets = np.cumsum([0, *(len(records.frames) for records in read)])[:-1]
    block_of = np.concatenate(of_block)[order]
    record = np.concatenate(owners)[order] + offsets[block_of]
    record_begin, frames, labels, track_ids = map(np.concatenate, list(zip(*read, strict=True))[1:])
    begin, size, extractor = record_begin[record], np.int64(source.extractor.frames), source.extractor
    if extractor.mode == RESIZE:
        size = frames[record]
    elif extractor.mode == RANDOM:
        starts = frames[record] - extractor.frames + 1
        begin += (stream.uniform(len(order), epoch, number) * starts).astype(np.int64) * source.frame_bytes
    else:
        begin += np.concatenate(position)[order] * (extractor.hop * source.frame_bytes)
    return _Patches(
        [records.data for records in read],
        block_of,
        begin,
        begin + size * source.frame_bytes,
        labels[record].astype(np.int32),
        track_ids[record] if len(track_ids) else track_ids,
    )


def _windows(
    source: PatchSource, stream: Stream, epoch: int, position: int, reach: Callable[[Any], None]
) -> Iterator[_Patches]:
    """Yield the patches of a stream from a position in an epoch on; `reach` is called as each window begins."""
    if position >= stream.patches:
        return
    number, begin = stream.window_at(epoch, position)
    while begin < stream.patches:
        reach((epoch, number))
        window = _window(source, stream, epoch, number)
        yield window.part(max(0, position - begin), len(window))
        begin, number = begin + len(window), number + 1
        # Not kept beside the next one.
        del window


def _in_pieces(windows: Iterator[_Patches], rows: int) -> Iterator[list[_Patches]]:
    """Yield patches so many rows at a time, in one piece or several; at last those that are left."""
    pieces: list[_Patches] = []
    missing = rows
    for window in windows:
        begin, end = 0, len(window)
        while end - begin >= missing:
            yield [*pieces, window.part(begin, begin + missing)]
            begin += missing
            pieces, missing = [], rows
        if begin < end:
            pieces.append(window.part(begin, end))
            missing -= end - begin
        # Not kept beside the next one.
        del window
    if pieces:
        yield pieces


class BatchReader:
    """The batches of some streams, or of one host's share of them.

    Args:
      source: of the patches.
      streams: the host's streams.
      rows: rows that every stream gives to a full batch.
      steps: batches in an epoch.
    """

    def __init__(self, source: PatchSource, streams: Sequence[Stream], *, rows: int, steps: int) -> None:
        self._source = source
        self._streams = streams
        self._rows = rows
        self._steps = steps

    def iterate(self, epoch: int, end: int, step: int) -> Iterator[Batch]:
        """Yield the batches of epochs from a step of the first epoch on to before the epoch `end`.

        The memory of a batch is used again once no view of it is left.

        Raises:
          ShardError: a shard cannot be read or is corrupt.
        """
        # For each iterator, as several of the same reader may run side by side.
        pool = _Pool((self._rows * len(self._streams), *self._source.shape, 1), self._source.dtype)
        with self._source.fetching_ahead(self._rounds(epoch, end, step)) as reach:
            yield from self._filled(pool, self._chosen(epoch, end, step, reach))

    def _filled(self, pool: "_Pool", chosen: Iterator[list[_Patches]]) -> Iterator[Batch]:
        """Yield the batches of chosen patches; those that are to be converted, by several threads."""
        if not self._source.converts:
            yield from (self._batch(pool, patches) for patches in chosen)
            return
        with ThreadPoolExecutor(_THREADS, "batches") as threads:
            filled: deque[Future[Batch]] = deque()
            for patches in chosen:
                filled.append(threads.submit(self._batch, pool, patches))
                if len(filled) > _THREADS:
                    yield filled.popleft().result()
            while filled:
                yield filled.popleft().result()

    def _chosen(self, epoch: int, end: int, step: int, reach: Callable[[Any], None]) -> Iterator[list[_Patches]]:
        """Yield the patches of each batch, in pieces."""
        for number in range(epoch, end):
            begin = step if number == epoch else 0
            streams = [
                _in_pieces(_windows(self._source, stream, number, begin * self._rows, reach), self._rows)
                for stream in self._streams
            ]
            for _ in range(begin, self._steps):
                yield [piece for pieces in streams for piece in next(pieces, ())]

    def _rounds(self, epoch: int, end: int, step: int) -> Iterator[tuple[tuple[int, int], set[int]]]:
        """Yield (epoch, window) and the shards that this window of any stream needs, from a step of an epoch on."""
        for number in range(epoch, end):
            begin = step * self._rows if number == epoch else 0
            window = min((stream.window_at(number, begin)[0] for stream in self._streams), default=0)
            while shards := {block.shard for stream in self._streams for block in stream.blocks(number, window)}:
                yield (number, window), shards
                window += 1

    def _batch(self, pool: "_Pool", pieces: Sequence[_Patches]) -> Batch:
        out = pool.take()[: sum(map(len, pieces))]
        self._source.fill((row for piece in pieces for row in piece.rows()), out[..., 0])
        # A host may have no row of an epoch's last batch.
        labels = np.concatenate([np.zeros(0, np.int32), *(piece.labels for piece in pieces)])
        if not self._source.with_track_ids:
            return out, labels
        return out, labels, np.concatenate([np.zeros(0, object), *(piece.track_ids for piece in pieces)])


class _Pool:
    """Arrays to fill, reused once TensorFlow has released them: fresh memory costs more than filling it.

    Args:
      shape: of the arrays.
      dtype: of the arrays.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._shape = shape
        self._dtype = dtype
        self._bytes = math.prod(shape) * dtype.itemsize
        self._free: list[np.ndarray] = []

    def take(self) -> np.ndarray:
        """Return an unused array of arbitrary contents; its memory is reused once its last view is deleted."""
        # Not asked first: another thread may take the last one in between.
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self._bytes + _ALIGNMENT, np.uint8)
        begin = -memory.ctypes.data % _ALIGNMENT
        array = np.asarray(_Loan(memory, self._free))
        return array[begin : begin + self._bytes].view(self._dtype).reshape(self._shape)


class _Loan:
    """Memory of a pool: every array made of it, views of views included, holds this object as its base."""

    def __init__(self, memory: np.ndarray, free: list[np.ndarray]) -> None:
        self.__array_interface__ = memory.__array_interface__
        self._memory = memory
        self._free = free

    def __del__(self) -> None:
        self._free.append(self._memory)
