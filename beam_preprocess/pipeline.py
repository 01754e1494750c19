"""The stages of the Beam job. Importing this module imports neither TensorFlow nor librosa."""

import contextlib
from collections.abc import Iterable, Iterator

import apache_beam as beam

from beam_preprocess import storage
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig
from beam_preprocess.finish import DatasetSpec, WriteManifest
from beam_preprocess.storage import reading_from
from beam_preprocess.write_shard import CONTENTS, REJECTS, RESULTS, WriteShard

PLAN_FILE = "plan.jsonl"


def build(pipeline: beam.Pipeline, config: JobConfig, spec: DatasetSpec, front_end: FrontEnd) -> beam.PCollection:
    """Add the job's stages to a pipeline. Only plans and results pass between them, never audio or spectrograms.

    Args:
      pipeline: the pipeline to add to.
      config: the job.
      spec: the planned dataset.
      front_end: built once by the launcher; workers receive its arrays.

    Returns:
      A collection of one element: the manifest's path, as bytes.
    """
    plan_uri = storage.join(storage.partial_dir(config.output), PLAN_FILE)
    write_shard = beam.ParDo(WriteShard(config, front_end, spec.labels))
    written = (
        pipeline
        | "ReadPlan" >> read_plan(plan_uri)  # str: one shard's plan as JSON
        | "Spread" >> beam.Reshuffle()  # str, on any worker
        | "WriteShard" >> write_shard.with_outputs(CONTENTS, REJECTS, main=RESULTS)
    )
    duplicates = (
        written[CONTENTS]  # (hash of a track's records, track_id)
        | "GroupByContent" >> beam.GroupByKey()  # (hash, track_ids)
        | "Duplicates" >> beam.FlatMap(duplicate_ids)  # tuple of the track_ids of one recording
    )
    rejects = beam.pvalue.AsIter(written[REJECTS])  # Rejected
    return (
        written[RESULTS]  # ShardResult
        | "Collect" >> beam.combiners.ToList()  # list[ShardResult], one for the whole job
        | "WriteManifest" >> beam.ParDo(WriteManifest(spec), rejects, beam.pvalue.AsIter(duplicates))  # bytes
    )


def read_plan(uri: str) -> beam.PTransform:
    """Read the lines of a plan, on one worker. (ReadFromText would take special characters in `uri` for a glob.)"""
    return beam.Impulse() | beam.FlatMap(_plan_lines, uri)


def _plan_lines(_: bytes, uri: str) -> Iterator[str]:
    # There is no plan for a worker that cannot reach the directory, or that repeats a finished job. The last stage,
    # which then gets no results, tells the two apart.
    with reading_from(uri), contextlib.suppress(FileNotFoundError):
        yield from storage.read_lines(uri)


def duplicate_ids(group: tuple[str, Iterable[bytes]]) -> Iterator[tuple[bytes, ...]]:
    """Yield the sorted track_ids with the same content, if there are several.

    They are bytes because Beam's coder for text refuses file names that are not UTF-8.
    """
    track_ids = sorted(group[1])
    if len(track_ids) > 1:
        yield tuple(track_ids)
