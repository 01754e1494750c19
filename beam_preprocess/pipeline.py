"""The Beam job. Importing it imports neither TensorFlow nor librosa."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_preprocess import storage
from beam_preprocess.config import JobConfig
from beam_preprocess.finish import Dataset, WriteManifest
from beam_preprocess.log_mel import FrontEnd
from beam_preprocess.write_shard import CONTENTS, RESULTS, WriteShard
from tfrecords.command_line import UserError

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
    written = (
        pipeline
        | "ReadPlan" >> beam.io.ReadFromText(plan_uri)  # str, one shard's plan as JSON
        | "Spread" >> beam.Reshuffle()  # str, on any worker
        | "WriteShard" >> beam.ParDo(WriteShard(config, front_end, dataset.labels)).with_outputs(CONTENTS, main=RESULTS)
    )
    duplicates = (
        written[CONTENTS]  # (hash of a track's records, track_id)
        | "GroupByContent" >> beam.GroupByKey()  # (hash, track_ids)
        | "Duplicates" >> beam.FlatMap(duplicate_ids)  # tuple of track_ids, of the same audio
    )
    return (
        written[RESULTS]  # ShardResult
        | "Collect" >> beam.combiners.ToList()  # list[ShardResult], one for the whole job
        | "WriteManifest" >> beam.ParDo(WriteManifest(dataset), beam.pvalue.AsList(duplicates))  # str
    )


def duplicate_ids(group: tuple[str, Iterable[bytes]]) -> Iterator[tuple[str, ...]]:
    """The track_ids of a recording, sorted, if there are several."""
    track_ids = sorted(track_id.decode("utf-8", "surrogateescape") for track_id in group[1])
    if len(track_ids) > 1:
        yield tuple(track_ids)


def parse_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Beam's options, with every core in use where the user does not say otherwise.

    Raises:
      UserError: a word is no flag, or a flag is neither ours nor Beam's (other engines have flags of their own, so
        there it may pass).
    """
    for before, word in zip(("", *beam_args), beam_args, strict=False):
        # Beam takes "--flag value" for "--flag=value", and drops other words without a sound.
        if not word.startswith("-") and (not before.startswith("--") or "=" in before):
            raise UserError(f"unexpected argument {word!r}; flags are written --name=value (see --help)")
    options = PipelineOptions(list(beam_args))
    if options.view_as(StandardOptions).runner is None:
        logging.disable(logging.WARNING)
        try:
            every, known = options.get_all_options(retain_unknown_options=True), options.get_all_options()
        finally:
            logging.disable(logging.NOTSET)
        if unknown := sorted(set(every) - set(known)):
            raise UserError(f"unknown flag --{unknown[0]} (see --help; Beam's own flags are accepted too)")
        direct = options.view_as(DirectOptions)
        if not any(argument.startswith("--direct_num_workers") for argument in beam_args):
            direct.direct_num_workers = os.cpu_count() or 1
        if not any(argument.startswith("--direct_running_mode") for argument in beam_args):
            # Threads, not processes: libsndfile, soxr and scipy.fft release the interpreter, and a process more costs
            # seconds of imports. Two threads take half the time of two processes on a thousand clips.
            direct.direct_running_mode = "multi_threading"
    return options


def make_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """A pipeline on the runner asked for; by default on this machine, without looking for another engine first."""
    # Beam's own default tries to download an engine from the internet, then silently falls back to this one.
    runner = FnApiRunner() if options.view_as(StandardOptions).runner is None else None
    return beam.Pipeline(runner=runner, options=options)
