"""The order in which an epoch reads its records, and how to resume in the middle of it.

Shards are taken in groups; within a group, one record is read from each shard in turn. So reading can resume at any
record: whole groups are skipped, and in the group where it resumes, whole rounds.
"""

import bisect
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import tensorflow as tf

from tfrecords.shard import ShardError, open_shard, read_records

# Shards read side by side in training, so that clips of many shards meet in one shuffled chunk.
_GROUP = 16


def epoch_seed(seed: int, epoch: tf.Tensor | int) -> tf.Tensor:
    """Return the seed, [2] int64, of everything random in an epoch."""
    return tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])


@dataclasses.dataclass(frozen=True)
class EpochOrder:
    """The records of some shards, epoch after epoch.

    Attributes:
      files: paths of the shards.
      records: number of records of each shard.
      seed: seed of the order; None to read the shards one after another as listed.
    """

    files: Sequence[str]
    records: Sequence[int]
    seed: int | None

    def iterate(self, epoch: int, position: int = 0) -> Iterator[bytes]:
        """Yield the serialized records of an epoch from a position on; the records before it are not read.

        Raises:
          ShardError: a shard cannot be read, is torn or corrupt, or has another number of records.
        """
        shards = [(self.files[index], self.records[index]) for index in self._shard_order(epoch)]
        group = 1 if self.seed is None else _GROUP
        skips, rest = seek([records for _, records in shards], position, group)
        for begin in range(0, len(shards), group):
            members = slice(begin, begin + group)
            for record in _in_turn(shards[members], skips[members]):
                if rest:
                    rest -= 1
                else:
                    yield record

    def _shard_order(self, epoch: int) -> Sequence[int]:
        if self.seed is None:
            return range(len(self.files))
        # On the CPU wherever there is another device, as random numbers may depend on the device.
        with tf.device("/cpu:0"):
            indices = tf.range(len(self.files), dtype=tf.int64)
            return tf.random.experimental.stateless_shuffle(indices, epoch_seed(self.seed, epoch)).numpy().tolist()


def seek(records: Sequence[int], position: int, group: int) -> tuple[list[int], int]:
    """Find a position in the order of an epoch.

    Args:
      records: number of records of each shard, in the epoch's order.
      position: number of records to skip.
      group: number of shards read in turn.

    Returns:
      How many records to skip at the start of each shard, all of them in whole rounds, and how many more to skip after
      those.

    Example:
      >>> seek([3, 3], position=3, group=2)
      ([1, 1], 1)
    """
    skips: list[int] = []
    for begin in range(0, len(records), group):
        sizes = records[begin : begin + group]
        if position >= sum(sizes):
            skips.extend(sizes)
            position -= sum(sizes)
            continue
        rounds = bisect.bisect_right(
            range(max(sizes)), position, key=lambda count: sum(min(size, count) for size in sizes)
        )
        whole_rounds = [min(size, rounds - 1) for size in sizes]
        not_begun = [0] * (len(records) - begin - len(sizes))
        return [*skips, *whole_rounds, *not_begun], position - sum(whole_rounds)
    return skips, position


def _in_turn(shards: Sequence[tuple[str, int]], skips: Sequence[int]) -> Iterator[bytes]:
    """Yield one record of each (path, number of records) in turn, without those to skip at the start of each."""
    with contextlib.ExitStack() as opened:
        streams = [
            _counted(opened.enter_context(open_shard(path)), path, records, skip=skip)
            for (path, records), skip in zip(shards, skips, strict=True)
            if skip < records
        ]
        while streams:
            for stream in list(streams):
                record = next(stream, None)
                if record is None:
                    streams.remove(stream)
                else:
                    yield record


def _counted(file: BinaryIO, path: str, expected: int, *, skip: int) -> Iterator[bytes]:
    count = skip
    for record in read_records(file, path, skip=skip):
        count += 1
        yield record
    if count != expected:
        raise ShardError(f"{path}: has {count} records; the manifest says {expected}")
