"""The audit as a Beam job: batches of tracks -> hashes -> pairs that share them -> pairs that are one recording.

Recordings that are there more than once: identical and matching tracks, joined into groups.
"""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.audit import fingerprint
from beam_preprocess.audit.analysis import AnalyzeTracks, WordReader
from beam_preprocess.audit.fingerprint import Alignment, align
from beam_preprocess.config import JobConfig
from beam_preprocess.output_error import writing_to
from beam_preprocess.pipeline import read_plan
from tfrecords.manifest import PARTIAL_DIR

PLAN_FILE = f"{PARTIAL_DIR}/batches.jsonl"
_MATCHES_FILE = f"{PARTIAL_DIR}/matches.json"
# Numbers of two tracks, and how they lie to each other.
Match = tuple[int, int, Alignment]


def build(pipeline: beam.Pipeline, config: JobConfig, sizes: Sequence[int]) -> beam.PCollection:
    """Adds the audit's stages to a pipeline; of the audio only hashes and numbers pass between them.

    Args:
      pipeline: to add to.
      config: the job whose input is audited.
      sizes: tracks of each batch.

    Returns:
      A collection of one: the number of matches, after they are written.
    """
    partitions = fingerprint.num_partitions(sum(sizes))
    plan_uri = FileSystems.join(config.output, PLAN_FILE)
    return (
        pipeline
        | "ReadPlan" >> read_plan(plan_uri)  # str, a batch as JSON
        | "Spread" >> beam.Reshuffle()  # str, on any worker
        | "WriteHeard" >> beam.ParDo(AnalyzeTracks(config, partitions))  # (partition, hashes of some tracks)
        | "GroupByHash" >> beam.GroupByKey()  # (partition, its hashes in blocks)
        | "Share" >> beam.FlatMap(share, partitions)  # (partition, pairs of tracks that share hashes)
        | "GroupByPair" >> beam.GroupByKey()  # (partition, its pairs in blocks)
        | "Compare" >> compare(config.output, sizes)  # Match
        | "WriteMatches" >> write_matches(config.output)  # int
    )


def share(partition: tuple[int, Iterable[bytes]], partitions: int) -> Iterator[tuple[int, bytes]]:
    """The pairs that share hashes of one partition, dealt by pair; at least one block."""
    yield 0, b""
    yield from fingerprint.deal_pairs(fingerprint.sharing_pairs(partition[1]), partitions)


def compare(output: str, sizes: Sequence[int]) -> beam.PTransform:
    """(partition, blocks of pairs) -> Match: of pairs that share enough, those that are one recording."""
    return (
        "Candidates" >> beam.FlatMap(_candidates)  # (track, track)
        | "SpreadPairs" >> beam.Reshuffle()  # the same, on any worker
        | "Align" >> beam.FlatMap(_align, WordReader(output, sizes))
    )


def _candidates(partition: tuple[int, Iterable[bytes]]) -> list[tuple[int, int]]:
    return fingerprint.candidates(partition[1])


def _align(pair: tuple[int, int], read_words: WordReader) -> Iterator[Match]:
    first, second = pair
    if found := align(read_words(first), read_words(second)):
        yield first, second, found


def write_matches(output: str) -> beam.PTransform:
    """Match -> their number: all of them, sorted, into one file."""
    return "Collect" >> beam.combiners.ToList() | "WriteFile" >> beam.Map(_write_matches, output)


def _write_matches(matches: Sequence[Match], output: str) -> int:
    rows = sorted([first, second, *_rounded(found)] for first, second, found in matches)
    with writing_to(output):
        storage.write_text(output, _MATCHES_FILE, json.dumps(rows))
    return len(rows)


def _rounded(found: Alignment) -> list[float]:
    return [round(found.offset_s, 3), round(found.overlap_s, 3), round(found.error_rate, 4)]


def read_matches(output: str) -> list[Match] | None:
    """What a finished pipeline has written, sorted; None where it has written nothing."""
    text = storage.read_text(FileSystems.join(output, _MATCHES_FILE))
    if text is None:
        return None
    return [(first, second, Alignment(*found)) for first, second, *found in json.loads(text)]


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
