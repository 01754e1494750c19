"""Where the patches of each epoch come from, chunk by chunk: from shards, or from memory."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrecords import example
from tfrecords.command_line import UserError
from tfrecords.epochs import Reader, epoch_order
from tfrecords.local_copy import copy_shards
from tfrecords.manifest import Manifest, Shard
from tfrecords.memory import read_clips
from tfrecords.options import ReaderOptions
from tfrecords.patches import Clips, Cutter, parse, parse_frames, select
from tfrecords.statistics import BandStatistics
from tfrecords.streaming import ChunkReader

# By TensorFlow, one chunk is decoded while another is parsed.
_DECODED_AT_ONCE = 2


@dataclasses.dataclass(frozen=True)
class Share:
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
    ) -> "Share":
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
class Shards:
    """Patches of shards; `chunk_records` clips are decoded, and in training shuffled, as one.

    Attributes:
      reader: the shards' records.
      manifest: of their dataset.
      cutter: what patches are.
      chunk_records: clips in a chunk.
      max_rows: no chunk has more frames.
      total: number of patches of an epoch; None if it is not known.
      uniform: the number of patches of every clip, where all have the same, else None.
      with_track_id: whether patches come with their track's id.
      in_graph: whether TensorFlow's operations read, else Python does.
    """

    reader: Reader
    manifest: Manifest
    cutter: Cutter
    chunk_records: int
    max_rows: int
    total: int | None
    uniform: int | None
    with_track_id: bool
    in_graph: bool

    @classmethod
    def of(cls, share: Share, cutter: Cutter, *, seed: int | None, options: ReaderOptions) -> "Shards":
        """The shards of a share, or their copies in the cache; the order depends on seed, None for none."""
        files = copy_shards(share.files, share.shards, options.cache) if options.cache else share.files
        record_bytes = sum(shard.bytes for shard in share.shards) / max(1, sum(share.records))
        uniform, total = share.patch_counts(cutter)
        chunk_records = max(1, int(options.shuffle_bytes / max(1.0, record_bytes)))
        return cls(
            reader=Reader(files, share.records, seed),
            manifest=share.manifest,
            cutter=cutter,
            chunk_records=chunk_records,
            max_rows=min(chunk_records * share.longest, sum(shard.frames for shard in share.shards)),
            total=total,
            uniform=uniform,
            with_track_id=seed is None,
            in_graph=options.in_graph,
        )

    def count(self) -> int:
        """Number of patches of an epoch; reads the shards once where it is not known."""
        return sum(self._chunk_counts(0)) if self.total is None else self.total

    def chunks(self, epoch: int, end: int, skip: int) -> tf.data.Dataset:
        """(whether it is its epoch's last, where its patches lie) of each chunk.

        Args:
          epoch: the first epoch.
          end: the epoch after the last.
          skip: patches of the first epoch to leave out; chunks before them are not decoded.
        """
        begin, passed = self._chunk_of(epoch, skip)
        clips = (self._decoded_in_graph if self.in_graph else self._decoded)(epoch, end, begin)

        def indexed(epoch: tf.Tensor, chunk: tf.Tensor, clips: Clips) -> tuple[tf.Tensor, Clips]:
            order = None
            if self.reader.seed is not None:
                order = tf.random.experimental.stateless_fold_in(epoch_order(self.reader.seed, epoch), chunk)
            first = (epoch == first_epoch) & (chunk == begin)
            left_out = tf.where(first, tf.constant(skip - passed, tf.int64), tf.constant(0, tf.int64))
            return chunk == last, select(self.cutter.index(clips, order), slice(left_out, None))

        first_epoch, last = epoch, math.ceil(sum(self.reader.records) / self.chunk_records) - 1
        # One chunk is read while another is cut.
        return clips.map(indexed).prefetch(1)

    def _decoded(self, epoch: int, end: int, begin: int) -> tf.data.Dataset:
        """(epoch, number, clips) of each chunk, from the chunk `begin` of the first epoch on."""

        def clips(
            epoch: tf.Tensor, chunk: tf.Tensor, log_mel: tf.Tensor, about: dict[str, tf.Tensor]
        ) -> tuple[Any, ...]:
            about = dict(about)
            frames = about.pop(example.FRAMES)
            return epoch, chunk, Clips(log_mel, tf.cumsum(self.cutter.used_of(frames), exclusive=True), frames, about)

        reader = ChunkReader(
            reader=self.reader,
            manifest=self.manifest,
            cutter=self.cutter,
            chunk_records=self.chunk_records,
            max_rows=self.max_rows,
            with_track_id=self.with_track_id,
        )
        return reader.dataset(epoch, end, begin).map(clips)

    def _decoded_in_graph(self, epoch: int, end: int, begin: int) -> tf.data.Dataset:
        """As `_decoded`, by TensorFlow's operations alone."""

        def numbered(records: tf.data.Dataset, epoch: tf.Tensor, start: int = 0) -> tf.data.Dataset:
            chunks = records.batch(self.chunk_records).enumerate(start)
            return chunks.map(lambda chunk, serialized: (epoch, chunk, serialized))

        def decoded(epoch: tf.Tensor, chunk: tf.Tensor, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Clips]:
            return epoch, chunk, parse(serialized, self.manifest, self.cutter, with_track_id=self.with_track_id)

        chunks = tf.data.Dataset.range(epoch + 1, end).flat_map(
            lambda number: numbered(self.reader.epoch(number), number)
        )
        if epoch < end:
            rest = self.reader.rest_of_epoch(epoch, begin * self.chunk_records)
            chunks = numbered(rest, tf.constant(epoch, tf.int64), begin).concatenate(chunks)
        return chunks.map(decoded, num_parallel_calls=_DECODED_AT_ONCE, deterministic=True)

    def _chunk_of(self, epoch: int, patch: int) -> tuple[int, int]:
        """The chunk of an epoch that holds a patch, and the number of patches before that chunk."""
        if not patch:
            return 0, 0
        if self.uniform is not None:
            chunk = patch // (self.uniform * self.chunk_records)
            return chunk, chunk * self.uniform * self.chunk_records
        chunk, passed = 0, 0
        for count in self._chunk_counts(epoch):
            if passed + count > patch:
                break
            chunk, passed = chunk + 1, passed + count
        return chunk, passed

    def _chunk_counts(self, epoch: int) -> Iterable[int]:
        """Numbers of patches of an epoch's chunks: reads its records, but only their numbers of frames."""
        records = self.reader.rest_of_epoch(epoch, 0).batch(self.chunk_records)
        return records.map(lambda chunk: tf.reduce_sum(self.cutter.counts(parse_frames(chunk)))).as_numpy_iterator()


@dataclasses.dataclass(frozen=True)
class Memory:
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
    def of(cls, share: Share, cutter: Cutter, *, statistics: BandStatistics | None, seed: int | None) -> "Memory":
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
