"""Batches as arrays: the rows of each, gathered from the mapped shards straight into the batch."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tfrecords.mapped_shards import MappedRecords, MappedShards
from tfrecords.patches import RANDOM, RESIZE, Normalizer, PatchExtractor, resize
from tfrecords.schema import DTYPES
from tfrecords.shard import ShardError
from tfrecords.streams import Block, PatchTable, Stream

# TensorFlow copies an array that does not begin at a multiple of so many bytes.
_ALIGNMENT = 64
_CONVERTED_ROWS = 16

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
        self._shards = shards
        self._kept: dict[Block, MappedRecords] = {}

    def keep(self, blocks: Sequence[Block]) -> None:
        """Read blocks now, and keep them in memory.

        Raises:
          ShardError: as `records`.
        """
        for block in blocks:
            records = self.records(block)
            self._kept[block] = records._replace(data=memoryview(bytes(records.data)))

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

    def fill(self, rows: Sequence[memoryview], out: np.ndarray) -> None:
        """Make patches of their bytes, those of their frames, in `out`, [rows, frames, mel_bands] of `dtype`."""
        if self.dtype == self._stored and self._normalizer.is_identity:
            self._gather(rows, out)
            return
        # Few rows at a time, so that they are still in the processor's cache when they are converted.
        gathered = np.empty((_CONVERTED_ROWS, *self.shape), self._stored)
        for begin in range(0, len(rows), _CONVERTED_ROWS):
            piece = gathered[: len(rows) - begin]
            self._gather(rows[begin : begin + _CONVERTED_ROWS], piece)
            self._convert(piece, out[begin : begin + _CONVERTED_ROWS])

    def _gather(self, rows: Sequence[memoryview], out: np.ndarray) -> None:
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


class _Window:
    """The patches of a window in their order, none of them copied yet."""

    def __init__(self, source: PatchSource, stream: Stream, epoch: int, number: int) -> None:
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
        self._block = np.concatenate(of_block)[order]
        self._record = np.concatenate(owners)[order] + offsets[self._block]
        begin, frames, labels, self._track_ids = map(np.concatenate, list(zip(*read, strict=True))[1:])
        self._views = [records.data for records in read]
        self._labels = labels.astype(np.int32)
        self._begin, self._size = begin[self._record], np.int64(source.extractor.frames)
        extractor = source.extractor
        if extractor.mode == RESIZE:
            self._size = frames[self._record]
        elif extractor.mode == RANDOM:
            starts = frames[self._record] - extractor.frames + 1
            self._begin += (stream.uniform(len(order), epoch, number) * starts).astype(np.int64) * source.frame_bytes
        else:
            self._begin += np.concatenate(position)[order] * (extractor.hop * source.frame_bytes)
        self._end = self._begin + self._size * source.frame_bytes

    def __len__(self) -> int:
        return len(self._record)

    def rows(self, begin: int, end: int) -> list[memoryview]:
        """Return the bytes of patches, or of whole clips that are to be resized."""
        views, chosen = self._views, slice(begin, end)
        places = (values[chosen].tolist() for values in (self._block, self._begin, self._end))
        return [views[block][first:last] for block, first, last in zip(*places, strict=True)]

    def labels(self, begin: int, end: int) -> np.ndarray:
        """Return the labels of patches."""
        return self._labels[self._record[begin:end]]

    def track_ids(self, begin: int, end: int) -> np.ndarray:
        """Return the track ids of patches."""
        return self._track_ids[self._record[begin:end]]


class _Cursor:
    """A position in one epoch of a stream."""

    def __init__(self, source: PatchSource, stream: Stream, epoch: int, position: int) -> None:
        self._source = source
        self._stream = stream
        self._epoch = epoch
        self._number, begin = stream.window_at(epoch, position)
        self._position = position - begin
        self._window: _Window | None = None

    def take(self, count: int) -> Iterator[tuple[_Window, int, int]]:
        """Yield (window, begin, end) of the next patches, so many together."""
        while count:
            if self._window is None:
                self._window = _Window(self._source, self._stream, self._epoch, self._number)
            begin, end = self._position, min(self._position + count, len(self._window))
            yield self._window, begin, end
            count -= end - begin
            self._position = end
            if end == len(self._window):
                self._window, self._number, self._position = None, self._number + 1, 0


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
        # A pool for each iterator, as several of the same reader may run side by side.
        pool = _Pool((self._rows * len(self._streams), *self._source.shape, 1), self._source.dtype)
        for number in range(epoch, end):
            begin = step if number == epoch else 0
            cursors = [_Cursor(self._source, stream, number, begin * self._rows) for stream in self._streams]
            for index in range(begin, self._steps):
                yield self._batch(pool, cursors, index)

    def _batch(self, pool: "_Pool", cursors: Sequence[_Cursor], step: int) -> Batch:
        rows, labels, track_ids = list[memoryview](), [np.zeros(0, np.int32)], [np.zeros(0, object)]
        for stream, cursor in zip(self._streams, cursors, strict=True):
            left = stream.patches - step * self._rows
            for window, begin, end in cursor.take(max(0, min(self._rows, left))):
                rows += window.rows(begin, end)
                labels.append(window.labels(begin, end))
                if self._source.with_track_ids:
                    track_ids.append(window.track_ids(begin, end))
        out = pool.take()[: len(rows)]
        self._source.fill(rows, out[..., 0])
        about = (labels, track_ids) if self._source.with_track_ids else (labels,)
        return out, *map(np.concatenate, about)


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
        memory = self._free.pop() if self._free else np.empty(self._bytes + _ALIGNMENT, np.uint8)
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
