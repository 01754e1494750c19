"""The audit as a Beam pipeline: shards of fingerprints -> hashes -> pairs that share them -> pairs of one recording."""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam

from beam_preprocess import storage
from beam_preprocess.audit import fingerprint
from beam_preprocess.audit.analysis import AnalyzeTracks, WordReader
from beam_preprocess.audit.fingerprint import Alignment, align
from beam_preprocess.config import JobConfig
from beam_preprocess.pipeline import make_shards
from beam_preprocess.plan import Plan
from beam_preprocess.shards import RESULTS
from beam_preprocess.storage import writing_to
from tfrecords.manifest import PARTIAL_DIR

_MATCHES_FILE = f"{PARTIAL_DIR}/matches.json"
# The numbers of two tracks of one recording, and how they are aligned.
Match = tuple[int, int, Alignment]


def build(pipeline: beam.Pipeline, config: JobConfig, plan: Plan) -> beam.PCollection:
    """Add the audit's stages to a pipeline; only hashes and numbers of tracks pass between them, never audio.

    Args:
      pipeline: to add to.
      config: of the job whose input is audited.
      plan: the shards of its tracks.

    Returns:
      A collection of one element: the number of matches, after they are written.
    """
    files, sizes = [shard.file for shard in plan.shards], [len(shard.tracks) for shard in plan.shards]
    firsts = dict(zip(files, itertools.accumulate(sizes, initial=0), strict=False))
    partitions = fingerprint.num_partitions(sum(sizes))
    analyzed = make_shards(pipeline, config.output, AnalyzeTracks(config, partitions, firsts))
    return (
        analyzed[RESULTS]  # (partition, hashes of some tracks)
        | "GroupByHash" >> beam.GroupByKey()  # (partition, its hashes in blocks)
        | "Share" >> beam.FlatMap(_share, partitions)  # (partition, pairs of tracks that share hashes)
        | "GroupByPair" >> beam.GroupByKey()  # (partition, its pairs in blocks)
        | "Compare" >> _compare(WordReader(config.output, files, sizes))  # Match
        | "WriteMatches" >> _write_matches(config.output)  # int
    )


def read_matches(output: str) -> list[Match] | None:
    """Return the matches that a finished pipeline wrote, sorted; None where it wrote nothing."""
    text = storage.read_text(storage.join(output, _MATCHES_FILE))
    if text is None:
        return None
    return [(first, second, Alignment(*alignment)) for first, second, *alignment in json.loads(text)]


def _share(partition: tuple[int, Iterable[bytes]], partitions: int) -> Iterator[tuple[int, bytes]]:
    """Yield the pairs that share hashes of one partition, dealt by pair; at least one block."""
    yield 0, b""
    yield from fingerprint.deal_pairs(fingerprint.sharing_pairs(partition[1]), partitions)


def _compare(read_words: WordReader) -> beam.PTransform:
    """(partition, blocks of pairs) -> Match: of pairs that share enough hashes, those that are one recording."""
    return (
        "Candidates" >> beam.FlatMap(_candidates)  # (track, track)
        | "SpreadPairs" >> beam.Reshuffle()  # the same, on any worker
        | "Align" >> beam.FlatMap(_align, read_words)
    )


def _candidates(partition: tuple[int, Iterable[bytes]]) -> list[tuple[int, int]]:
    return fingerprint.candidates(partition[1])


def _align(pair: tuple[int, int], read_words: WordReader) -> Iterator[Match]:
    first, second = pair
    if alignment := align(read_words(first), read_words(second)):
        yield first, second, alignment


def _write_matches(output: str) -> beam.PTransform:
    """Match -> their number, after all of them are written, sorted, to one file."""
    return "Collect" >> beam.combiners.ToList() | "WriteFile" >> beam.Map(_write_matches_file, output)


def _write_matches_file(matches: Sequence[Match], output: str) -> int:
    rows = sorted(
        [first, second, round(found.offset_s, 3), round(found.overlap_s, 3), round(found.error_rate, 4)]
        for first, second, found in matches
    )
    with writing_to(output):
        storage.write_text(output, _MATCHES_FILE, json.dumps(rows))
    return len(rows)
