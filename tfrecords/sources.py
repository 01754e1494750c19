"""Where the patches of each epoch come from, chunk by chunk: from shards, or from memory."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from tfrecords import example
from tfrecords.command_line import UserError
from tfrecords.epochs import Reader, epoch_order
from tfrecords.manifest import Manifest, Shard
from tfrecords.memory import read_clips
from tfrecords.patches import Clips, Cutter, select
from tfrecords.statistics import BandStatistics
from tfrecords.streaming import ChunkReader

# Of stored data, shuffled as one; about four times as much is in use at once. Part of what decides the order.
_SHUFFLE_BYTES = 32 << 20


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
    def of(cls, share: Share, cutter: Cutter, *, seed: int | None) -> "Shards":
        """The shards of a share; the order depends on seed, None for none."""
        record_bytes = sum(shard.bytes for shard in share.shards) / max(1, sum(share.records))
        chunk_records = max(1, int(_SHUFFLE_BYTES / max(1.0, record_bytes)))
        uniform, total = share.patch_counts(cutter)
        reader = ChunkReader(
            reader=Reader(share.files, share.records, seed),
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
            frames = about.pop(example.FRAMES)
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
