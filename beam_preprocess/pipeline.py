"""The Beam job. Importing it imports neither TensorFlow nor librosa."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.config import JobConfig
from beam_preprocess.finish import Dataset, WriteManifest
from beam_preprocess.log_mel import FrontEnd
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
      A collection of one: the manifest's path.
    """
    plan_uri = FileSystems.join(storage.partial_dir(config.output), PLAN_FILE)
    write_shard = beam.ParDo(WriteShard(config, front_end, dataset.labels))
    written = (
        pipeline
        | "ReadPlan" >> beam.io.ReadFromText(plan_uri)  # str, one shard's plan as JSON
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
        | "WriteManifest" >> beam.ParDo(WriteManifest(dataset), rejects, beam.pvalue.AsIter(duplicates))  # str
    )


def duplicate_ids(group: tuple[str, Iterable[bytes]]) -> Iterator[tuple[str, ...]]:
    """The track_ids of a recording, sorted, if there are several."""
    track_ids = sorted(track_id.decode("utf-8", "surrogateescape") for track_id in group[1])
    if len(track_ids) > 1:
        yield tuple(track_ids)
