"""The audit as a Beam job: batches of tracks -> hashes -> pairs that share them -> pairs that are one recording."""

import json
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.audit import sharing
from beam_preprocess.audit.alignment import Alignment, align
from beam_preprocess.audit.batch import WordReader
from beam_preprocess.audit.listen import Listen
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
    partitions = sharing.num_partitions(sum(sizes))
    plan_uri = FileSystems.join(config.output, PLAN_FILE)
    return (
        pipeline
        | "ReadPlan" >> read_plan(plan_uri)  # str, a batch as JSON
        | "Spread" >> beam.Reshuffle()  # str, on any worker
        | "WriteHeard" >> beam.ParDo(Listen(config, partitions))  # (partition, hashes of some tracks)
        | "GroupByHash" >> beam.GroupByKey()  # (partition, its hashes in blocks)
        | "Share" >> beam.FlatMap(share, partitions)  # (partition, pairs of tracks that share hashes)
        | "GroupByPair" >> beam.GroupByKey()  # (partition, its pairs in blocks)
        | "Compare" >> compare(config.output, sizes)  # Match
        | "WriteMatches" >> write_matches(config.output)  # int
    )


def share(partition: tuple[int, Iterable[bytes]], partitions: int) -> Iterator[tuple[int, bytes]]:
    """The pairs that share hashes of one partition, dealt by pair; at least one block."""
    yield 0, b""
    yield from sharing.deal_pairs(sharing.sharing_pairs(partition[1]), partitions)


def compare(output: str, sizes: Sequence[int]) -> beam.PTransform:
    """(partition, blocks of pairs) -> Match: of pairs that share enough, those that are one recording."""
    return (
        "Candidates" >> beam.FlatMap(_candidates)  # (track, track)
        | "SpreadPairs" >> beam.Reshuffle()  # the same, on any worker
        | "Align" >> beam.FlatMap(_align, WordReader(output, sizes))
    )


def _candidates(partition: tuple[int, Iterable[bytes]]) -> list[tuple[int, int]]:
    return sharing.candidates(partition[1])


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
