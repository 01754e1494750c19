"""The order of an epoch, as a pure function of (seed, epoch): which patches each batch holds.

The patches of all records, in the order of their shards, are divided into S streams of equal length (within one patch),
each a range of records next to each other. A global batch takes as many rows of every stream, one stream after another,
so that all streams end together, however uneven the shards are. H hosts take S / H streams each and read only those;
the global batch is the same for every H that divides S.

A stream is read in blocks of neighbouring records. Each epoch shuffles the blocks, and then the patches of every few
blocks (a window) as one. Of a long stream, it shuffles the shards first, and then the blocks of every few shards (a
group): so a shard is read in one stretch of the epoch, and a cache of shards need not hold them all.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tfrecords.common.command_line import UserError

# Bytes of records that are shuffled as one, over the windows of all streams. Part of what decides the order.
SHUFFLE_BYTES = 128 << 20
# The order's version: a training that stopped in the middle of an epoch can go on only in the same order.
ORDER_VERSION = 3
_MAX_STREAMS = 32
_BLOCKS_IN_WINDOW = 4
# In a group at least, unless the stream has fewer: with all streams' groups together 4 GiB.
_BLOCKS_IN_GROUP = 128
# What random numbers are for: 0 the order of the blocks, from 1 on that of the patches in a window.
_OF_SHARDS = (1 << 64) - 1
_ORDERS_KEPT = 2
_WORD = 0xFFFFFFFF


def count_streams(batch_size: int) -> int:
    """Return the number of streams for a global batch size: its divisor, up to 32, that most numbers of hosts divide.

    Example:
      >>> [count_streams(size) for size in (256, 100, 10, 37)]
      [32, 20, 10, 1]
    """
    divisors = [number for number in range(1, _MAX_STREAMS + 1) if batch_size % number == 0]
    return max(divisors, key=lambda number: (sum(number % hosts == 0 for hosts in divisors), number))


def host_streams(num_streams: int, *, host_index: int, num_hosts: int) -> range:
    """Return the streams that one of several hosts reads.

    Raises:
      UserError: the number of hosts does not divide the number of streams.
    """
    if num_streams % num_hosts:
        possible = [str(number) for number in range(1, num_streams + 1) if num_streams % number == 0]
        raise UserError(
            f"`num_hosts` must divide the {num_streams} streams of this `batch_size`, so be one of "
            f"{', '.join(possible)}, got {num_hosts}; take another number of hosts, or a `batch_size` that it divides"
        )
    share = num_streams // num_hosts
    return range(host_index * share, (host_index + 1) * share)


@dataclasses.dataclass(frozen=True)
class PatchTable:
    """Where the patches of some shards lie: in which record, and in which shard.

    Attributes:
      first_record: [shards + 1] int64, number of a shard's first record, over all shards.
      first_patch: [records + 1] int64, number of a record's first patch.
    """

    first_record: np.ndarray
    first_patch: np.ndarray

    @classmethod
    def of(cls, records: Sequence[int], patches: np.ndarray) -> "PatchTable":
        """Return the table of shards with so many records each, which give so many patches each, [records] int64."""
        return cls(_starts(np.asarray(records, np.int64)), _starts(patches))

    @property
    def patches(self) -> int:
        """Number of all patches."""
        return int(self.first_patch[-1])

    def records_of(self, patches: np.ndarray) -> np.ndarray:
        """Return the numbers of the records that hold patches, of the same shape."""
        return np.searchsorted(self.first_patch, patches, "right") - 1


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


@dataclasses.dataclass(frozen=True)
class Block:
    """Neighbouring records of one shard, which are read as one.

    Attributes:
      shard: number of the shard.
      begin: number of the first record in that shard.
      end: number of the record after the last.
      first_patch: number of the first patch, over all shards.
      last_patch: number of the patch after the last.
    """

    shard: int
    begin: int
    end: int
    first_patch: int
    last_patch: int


class Stream:
    """A range of patches, and their order in each epoch.

    Args:
      table: of all patches.
      index: which stream this is, from 0.
      num_streams: how many there are.
      block_records: records in a block.
      seed: seed of the order; None to keep the table's.
      shuffles_all: make the whole stream one window.
    """

    def __init__(
        self,
        table: PatchTable,
        index: int,
        num_streams: int,
        *,
        block_records: int,
        seed: int | None,
        shuffles_all: bool = False,
    ) -> None:
        share, rest = divmod(table.patches, num_streams)
        begin = index * share + min(index, rest)
        self.patches = share + (index < rest)
        self._table = table
        self._index = index
        self._seed = seed
        self._blocks = _blocks(table, begin, begin + self.patches, block_records)
        self._window_blocks = max(1, len(self._blocks[0])) if shuffles_all else _BLOCKS_IN_WINDOW
        # Of few epochs: one that is read, and the next, of which shards are fetched ahead.
        self._orders: dict[int, np.ndarray] = {}

    def window_at(self, epoch: int, position: int) -> tuple[int, int]:
        """Return the window of an epoch that holds a position of the stream, and where the window begins."""
        _, _, first, last = self._blocks
        ends = np.cumsum((last - first)[self._block_order(epoch)])
        window = int(np.searchsorted(ends, position, "right")) // self._window_blocks
        return window, int(ends[window * self._window_blocks - 1]) if window else 0

    def blocks(self, epoch: int, window: int) -> list[Block]:
        """Return the blocks of an epoch's window, none after the last."""
        order = self._block_order(epoch)[window * self._window_blocks : (window + 1) * self._window_blocks]
        return [self._block(number) for number in order.tolist()]

    def all_blocks(self) -> list[Block]:
        """Return the blocks of every epoch, in the table's order."""
        return [self._block(number) for number in range(len(self._blocks[0]))]

    def shuffle(self, patches: np.ndarray, epoch: int, window: int) -> np.ndarray:
        """Return a window's patches, in any array, in their order in an epoch."""
        if self._seed is None:
            return patches
        return patches[np.argsort(self._random(len(patches), epoch, window + 1), kind="stable")]

    def uniform(self, count: int, epoch: int, window: int) -> np.ndarray:
        """Return numbers from 0 to below 1, [count] float64, apart from those that `shuffle` uses."""
        bits = self._random(2 * count, epoch, window + 1)[count:]
        return (bits >> np.uint64(11)) * 2.0**-53

    def _block_order(self, epoch: int) -> np.ndarray:
        count = len(self._blocks[0])
        if self._seed is None:
            return np.arange(count)
        if epoch not in self._orders:
            # By their groups, then at random.
            order = np.lexsort((self._random(count, epoch, 0), self._groups(epoch)))
            self._orders = {epoch: order, **dict(list(self._orders.items())[: _ORDERS_KEPT - 1])}
        return self._orders[epoch]

    def _groups(self, epoch: int) -> np.ndarray:
        """Return the group of each block in an epoch, [blocks] int64."""
        shards = np.searchsorted(self._table.first_record, self._blocks[0], "right")
        _, shards, sizes = np.unique(shards, return_inverse=True, return_counts=True)
        order = np.argsort(self._random(len(sizes), epoch, _OF_SHARDS), kind="stable")
        group_of, group, blocks = np.zeros(len(sizes), np.int64), 0, 0
        for shard in order.tolist():
            group_of[shard] = group
            blocks += int(sizes[shard])
            if blocks >= _BLOCKS_IN_GROUP:
                group, blocks = group + 1, 0
        return group_of[shards]

    def _block(self, number: int) -> Block:
        begin, end, first_patch, last_patch = (int(values[number]) for values in self._blocks)
        shard = int(np.searchsorted(self._table.first_record, begin, "right")) - 1
        first = int(self._table.first_record[shard])
        return Block(shard, begin - first, end - first, first_patch, last_patch)

    def _random(self, count: int, epoch: int, purpose: int) -> np.ndarray:
        """Return [count] uint64, the raw output of a bit generator: NumPy keeps that from one version to the next."""
        words = [part for value in (self._seed or 0, epoch, self._index, purpose) for part in _words(value)]
        return np.random.PCG64(np.random.SeedSequence(words)).random_raw(count)


def _words(value: int) -> tuple[int, int]:
    return value & _WORD, (value >> 32) & _WORD


def _blocks(table: PatchTable, begin: int, end: int, block_records: int) -> tuple[np.ndarray, ...]:
    """Return the first record of each block of a range of patches, the one after its last, and the same of patches."""
    if begin == end:
        return (np.zeros(0, np.int64),) * 4
    first, last = table.records_of(np.array([begin, end - 1])).tolist()
    shards = table.first_record[(table.first_record > first) & (table.first_record <= last)].tolist()
    pieces = zip([first, *shards], [*shards, last + 1], strict=True)
    begins = np.concatenate([np.arange(start, stop, block_records, dtype=np.int64) for start, stop in pieces])
    ends = np.append(begins[1:], last + 1)
    patches = (np.clip(table.first_patch[records], begin, end) for records in (begins, ends))
    blocks = np.stack([begins, ends, *patches])
    # Records that are shorter than a patch may fill a whole block.
    return tuple(blocks[:, blocks[2] < blocks[3]])


def block_records(record_bytes: float, num_streams: int, *, shuffle_bytes: int) -> int:
    """Return the number of records in a block, so that the windows of all streams hold so many bytes together."""
    return max(1, math.floor(shuffle_bytes / num_streams / _BLOCKS_IN_WINDOW / max(1.0, record_bytes)))
