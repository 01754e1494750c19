"""The order in which an epoch reads its records, and where in it a patch is found without reading what is before it.

Shards are taken in groups, and the shards of a group in turn, a record at a time. That is a rule simple enough to go
on from any record: whole groups are left out, and in the group where reading goes on, so many whole rounds.
"""

import bisect
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import tensorflow as tf

from tfrecords.shard import ShardError, open_shard, read_records

# Shards read side by side in training: clips of many shards meet in one shuffled chunk.
_GROUP = 16


@dataclasses.dataclass(frozen=True)
class Reader:
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
