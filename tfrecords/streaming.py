"""Chunks of clips, read by Python, which moves a record's bytes once from its file and once into its chunk.

TensorFlow's own operations would move them five times on that way, most of them into memory that is fresh, and take
twice as long.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrecords import example
from tfrecords.epochs import Reader
from tfrecords.manifest import Manifest
from tfrecords.patches import Cutter
from tfrecords.reading import passed_on
from tfrecords.records import check_label, iterate_file
from tfrecords.shard import ShardError

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

    reader: Reader
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
        about = {example.FRAMES: clip, example.LABEL: clip}
        if self.with_track_id:
            about[example.TRACK_ID] = tf.TensorSpec([None], tf.string)

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
            told.append((len(record.log_mel), record.label, example.to_bytes(record.track_id)))
            left -= 1
            if not left or len(told) == self.chunk_records:
                yield rows[:filled], _columns(told)
                rows, filled, told = pool.take(), 0, []

    def _records(self, epoch: int, position: int) -> Iterator[example.Record]:
        for serialized in self.reader.iterate(epoch, position):
            try:
                record = example.decode(serialized, mel_bands=self.manifest.mel_bands, dtype=self.manifest.dtype)
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
        example.FRAMES: np.array(frames),
        example.LABEL: np.array(labels),
        example.TRACK_ID: np.array(track_ids, object),
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
