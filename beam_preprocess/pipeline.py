"""The Beam job. Importing it imports neither TensorFlow nor librosa."""

import contextlib
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig
from beam_preprocess.finish import Dataset, WriteManifest
from beam_preprocess.write_shard import CONTENTS, REJECTS, RESULTS, WriteShard

PLAN_FILE = "plan.jsonl"


def build(pipeline: beam.Pipeline, config: JobConfig, dataset: Dataset, front_end: FrontEnd) -> beam.PCollection:
    """Adds the job's stages to a pipeline; only plans and results pass between them, never audio or spectrograms.

    Args:
      pipeline: to add to.
      config: the job.
      dataset: what the launcher planned.
      front_end: built once, here; workers get its arrays.

    Returns:
      A collection of one: the manifest's path, as bytes.
    """
    plan_uri = FileSystems.join(storage.partial_dir(config.output), PLAN_FILE)
    write_shard = beam.ParDo(WriteShard(config, front_end, dataset.labels))
    written = (
        pipeline
        | "ReadPlan" >> read_plan(plan_uri)  # str, one shard's plan as JSON
        | "Spread" >> beam.Reshuffle()  # str, on any worker
        | "WriteShard" >> write_shard.with_outputs(CONTENTS, REJECTS, main=RESULTS)
    )
    duplicates = (
        written[CONTENTS]  # (hash of a track's records, track_id)
        | "GroupByContent" >> beam.GroupByKey()  # (hash, track_ids)
        | "Duplicates" >> beam.FlatMap(duplicate_ids)  # tuple of track_ids, of the same audio
    )
    rejects = beam.pvalue.AsIter(written[REJECTS])  # Rejected
    return (
        written[RESULTS]  # ShardResult
        | "Collect" >> beam.combiners.ToList()  # list[ShardResult], one for the whole job
        | "WriteManifest" >> beam.ParDo(WriteManifest(dataset), rejects, beam.pvalue.AsIter(duplicates))  # bytes
    )


def read_plan(uri: str) -> beam.PTransform:
    """A pipeline's begin -> the lines of a plan, read one after another by one worker.

    Beam's own ReadFromText would take a directory's name for a pattern.
    """
    return beam.Impulse() | beam.FlatMap(_lines, uri)


def _lines(_: bytes, uri: str) -> Iterator[str]:
    # A worker that cannot reach the directory, or does all again after it was done, finds no plan: the last stage gets
    # no results then, and knows which it is.
    with contextlib.suppress(FileNotFoundError):
        yield from storage.read_lines(uri)


def duplicate_ids(group: tuple[str, Iterable[bytes]]) -> Iterator[tuple[bytes, ...]]:
    """The track_ids of a recording, sorted, if there are several; as bytes, for Beam's coder of text is strict."""
    track_ids = sorted(group[1])
    if len(track_ids) > 1:
        yield tuple(track_ids)
