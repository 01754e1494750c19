"""The stages of the Beam jobs. Importing this module imports neither TensorFlow nor librosa."""

import contextlib
from collections.abc import Iterable, Iterator

import apache_beam as beam

from beam_preprocess import storage
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig
from beam_preprocess.finish import FinishJob
from beam_preprocess.shards import REJECTS, RESULTS, MakeShard
from beam_preprocess.storage import reading_from
from beam_preprocess.write_manifest import DatasetSpec, WriteManifest
from beam_preprocess.write_shard import CONTENTS, WriteShard

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
    written = make_shards(pipeline, config.output, WriteShard(config, front_end, spec.labels), CONTENTS)
    duplicates = (
        written[CONTENTS]  # (hash of a track's records, track_id)
        | "GroupByContent" >> beam.GroupByKey()  # (hash, track_ids)
        | "Duplicates" >> beam.FlatMap(duplicate_ids)  # tuple of the track_ids of one recording
    )
    return finish_job(written, WriteManifest(spec), beam.pvalue.AsIter(duplicates))


def make_shards(pipeline: beam.Pipeline, output: str, make_shard: MakeShard, *tags: str) -> beam.pvalue.DoOutputsTuple:
    """Add the stages that make the shards of the plan in an output, each on one worker.

    Args:
      pipeline: a new one.
      output: of the job.
      make_shard: ShardPlan as JSON -> result.
      tags: of its outputs beside REJECTS and RESULTS.

    Returns:
      Tag -> collection.
    """
    plan_uri = storage.join(storage.partial_dir(output), PLAN_FILE)
    return (
        pipeline
        | "ReadPlan" >> _read_plan(plan_uri)  # str: one shard's plan as JSON
        | "Spread" >> beam.Reshuffle()  # str, on any worker
        | type(make_shard).__name__ >> beam.ParDo(make_shard).with_outputs(*tags, REJECTS, main=RESULTS)
    )


def finish_job(made: beam.pvalue.DoOutputsTuple, finish: FinishJob, *more: beam.pvalue.AsSideInput) -> beam.PCollection:
    """Add the last stage: all results and rejects on one worker.

    Args:
      made: of `make_shards`.
      finish: list of results -> path of the file that is written last.
      more: what else it is given.
    """
    return (
        made[RESULTS]  # a result
        | "Collect" >> beam.combiners.ToList()  # list of results, one for the whole job
        | type(finish).__name__ >> beam.ParDo(finish, beam.pvalue.AsIter(made[REJECTS]), *more)  # bytes
    )


def _read_plan(uri: str) -> beam.PTransform:
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
