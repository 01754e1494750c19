"""Recordings that are there more than once: identical and matching tracks, joined into groups."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from beam_preprocess.audit.alignment import Alignment
from beam_preprocess.audit.pipeline import Match

_SAME = Alignment(offset_s=0.0, overlap_s=0.0, error_rate=0.0)


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two tracks that are one recording.

    Attributes:
      first: number of a track.
      second: number of a later one.
      identical: whether their samples are equal.
      alignment: how they lie to each other; of identical ones the overlap is their length.
    """

    first: int
    second: int
    identical: bool
    alignment: Alignment


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording that is there more than once.

    Attributes:
      tracks: their numbers, ascending.
      pairs: what links them, sorted; identical tracks are linked to the first of them.
    """

    tracks: tuple[int, ...]
    pairs: tuple[Pair, ...]


def recordings(contents: Mapping[int, tuple[str, float]], matches: Iterable[Match]) -> list[Recording]:
    """The recordings that are there more than once, by their first track.

    Args:
      contents: number of a track -> hash of its samples, and its length in seconds.
      matches: pairs that are one recording by their fingerprints; identical ones may be among them.
    """
    pairs = _identical_pairs(contents)
    for first, second, alignment in matches:
        if contents[first][0] != contents[second][0]:
            pairs.append(Pair(first, second, identical=False, alignment=alignment))
    pairs.sort(key=lambda pair: (pair.first, pair.second))
    parent: dict[int, int] = {}
    for pair in pairs:
        one, other = sorted((_root(parent, pair.first), _root(parent, pair.second)))
        parent[other] = one
    members: dict[int, set[int]] = defaultdict(set)
    own: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        root = _root(parent, pair.first)
        members[root] |= {pair.first, pair.second}
        own[root].append(pair)
    return [Recording(tuple(sorted(members[root])), tuple(own[root])) for root in sorted(members)]


def _identical_pairs(contents: Mapping[int, tuple[str, float]]) -> list[Pair]:
    first_with: dict[str, int] = {}
    pairs = []
    for number in sorted(contents):
        content, duration_s = contents[number]
        first = first_with.setdefault(content, number)
        if first != number:
            pairs.append(
                Pair(first, number, identical=True, alignment=dataclasses.replace(_SAME, overlap_s=duration_s))
            )
    return pairs


def _root(parent: dict[int, int], number: int) -> int:
    """The least number that a track is linked to so far (union-find, with paths halved)."""
    while (above := parent.setdefault(number, number)) != number:
        parent[number] = number = parent.setdefault(above, above)
    return number


def pairs_to_draw(found: Sequence[Recording], parts: Sequence[str], count: int) -> list[Pair]:
    """So many pairs to look at: none identical, those across parts first, then by their tracks."""
    pairs = [pair for recording in found for pair in recording.pairs if not pair.identical]
    return sorted(pairs, key=lambda pair: parts[pair.first] == parts[pair.second])[:count]
