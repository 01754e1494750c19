"""Which tracks share words: hashes in buckets, grouped by Beam, never all pairs.

What passes between workers are blocks of bytes that hold many hashes or pairs as arrays; each has a partition by its
hash or pair, and what belongs together meets in one partition. With n tracks of w words, n w / 2 hashes of 8 bytes are
grouped (3.4 KB for 30 s), and at most NEIGHBOURS n w / 2 pairs of 12 bytes, as a bucket of any size gives no more than
NEIGHBOURS pairs an entry: time and traffic grow with n, not with its square, also where all tracks share a hash.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from beam_preprocess.audit.fingerprint import NO_WORD

ENTRY = np.dtype([("hash", "<u4"), ("track", "<u4")])
PAIR = np.dtype([("first", "<u4"), ("second", "<u4"), ("shared", "<u4")])
# In a bucket, the tracks by number, each is paired with so many that follow it. Copies beyond that are linked by those
# between; of what all tracks share, more pairs would say nothing.
NEIGHBOURS = 8
# Hashes that two tracks share from which they are compared: of 30,000 pairs of real tracks some 70 share one by chance
# and none more than two; copies of 25 s share 5 or more, half of them 64. Of copies of 10 to 15 s one in 60 has less.
MIN_SHARED = 4
# Tracks for which there is one partition more: it then holds some 3.4 MB of entries of 30 s clips.
_PARTITION_TRACKS = 1000
_MIN_PARTITIONS = 8
# Entries or pairs that travel as one element: 1.5 MB at most.
_BLOCK = 1 << 17
# Knuth's multiplicative hash (The Art of Computer Programming 3, 6.4): words of music differ in few bits.
_SPREAD = np.uint32(2654435761)


def num_partitions(tracks: int) -> int:
    """Into how many partitions the hashes of so many tracks are dealt."""
    return max(_MIN_PARTITIONS, -(-tracks // _PARTITION_TRACKS))


def entries(track: int, words: np.ndarray) -> np.ndarray:
    """The hashes of a track, [n] ENTRY: of its distinct words every second one, chosen by the word, so alike in copies.

    Args:
      track: its number.
      words: [frames] uint32.
    """
    hashes = np.unique(words[words != NO_WORD]) * _SPREAD
    chosen = hashes[hashes < 1 << 31]
    made = np.empty(len(chosen), ENTRY)
    made["hash"], made["track"] = chosen, track
    return made


def deal_entries(found: np.ndarray, partitions: int) -> Iterator[tuple[int, bytes]]:
    """(partition, block of ENTRY) of all entries, by hash."""
    # Multiplied, then divided: hashes are below 2 ** 31.
    yield from _deal(found, (found["hash"].astype(np.uint64) * np.uint64(partitions)) >> np.uint64(31))


def sharing_pairs(blocks: Iterable[bytes]) -> np.ndarray:
    """The pairs of tracks that share hashes of one partition, [n] PAIR, first < second, each pair once."""
    found = np.concatenate([np.frombuffer(block, ENTRY) for block in blocks])
    found = found[np.lexsort((found["track"], found["hash"]))]
    pairs = [np.zeros(0, np.uint64)]
    for distance in range(1, NEIGHBOURS + 1):
        same = found["hash"][distance:] == found["hash"][:-distance]
        first, second = found["track"][:-distance][same], found["track"][distance:][same]
        pairs.append(first.astype(np.uint64) << np.uint64(32) | second)
    keys, shared = np.unique(np.concatenate(pairs), return_counts=True)
    return _pairs(keys, shared)


def deal_pairs(pairs: np.ndarray, partitions: int) -> Iterator[tuple[int, bytes]]:
    """(partition, block of PAIR) of all pairs, by their first track."""
    yield from _deal(pairs, pairs["first"] % np.uint32(partitions))


def candidates(blocks: Iterable[bytes]) -> list[tuple[int, int]]:
    """Pairs of tracks, in order, that share MIN_SHARED words or more over all partitions of hashes."""
    found = np.concatenate([np.frombuffer(block, PAIR) for block in blocks])
    keys, place = np.unique(found["first"].astype(np.uint64) << np.uint64(32) | found["second"], return_inverse=True)
    pairs = _pairs(keys, np.bincount(place, found["shared"], len(keys)))
    chosen = pairs[pairs["shared"] >= MIN_SHARED]
    return list(zip(chosen["first"].tolist(), chosen["second"].tolist(), strict=True))


def _pairs(keys: np.ndarray, shared: np.ndarray) -> np.ndarray:
    made = np.empty(len(keys), PAIR)
    made["first"], made["second"], made["shared"] = keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF), shared
    return made


def _deal(items: np.ndarray, partition: np.ndarray) -> Iterator[tuple[int, bytes]]:
    items = items[np.argsort(partition, kind="stable")]
    counts = np.bincount(partition.astype(np.int64)).tolist()
    start = 0
    for number, count in enumerate(counts):
        for begin in range(start, start + count, _BLOCK):
            yield number, items[begin : min(begin + _BLOCK, start + count)].tobytes()
        start += count
