"""The preprocessing job: labelled audio -> a dataset of sharded records."""

import re
import time
from collections.abc import Iterable, Sequence

from beam_preprocess import engine, finish, launch, pipeline, storage
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig
from beam_preprocess.launch import Kind, Launch, list_input
from beam_preprocess.plan import Plan, plan_job
from beam_preprocess.summary import log_summary
from beam_preprocess.write_manifest import DatasetSpec
from beam_preprocess.write_shard import ShardResult
from tfrecords import manifest, tfds
from tfrecords.common.command_line import UserError
from tfrecords.manifest import Manifest


def run(
    config: JobConfig, *, beam_args: Sequence[str] = (), own_flags: Iterable[str] = (), overwrite: bool = False
) -> Manifest | None:
    """Run a whole job.

    Args:
      config: the job.
      beam_args: command line arguments for Beam.
      own_flags: names of our own flags, to suggest one for a misspelt flag.
      overwrite: start over if the output holds another dataset, or this one.

    Returns:
      The dataset's manifest; None if Dataflow runs the job later, from a template.

    Raises:
      UserError: bad input or output, another job writes to the output, too many rejects.

    Example::

      from beam_preprocess import JobConfig, SplitConfig, run

      manifest = run(JobConfig(source="tracks.csv", output="DATA", name="music", split=SplitConfig(folds=5)))
      print(manifest.tracks(["fold_0"]), manifest.rejects)
    """
    began = time.monotonic()
    options = engine.parse_options(beam_args, own_flags=own_flags)
    front_end = FrontEnd(config.front_end)
    tracks = list_input(config)
    engine.check_reach(options, config.output, tracks)
    plan = plan_job(config, tracks)
    begun = Launch(
        config,
        tracks,
        plan,
        DATASET,
        ShardResult,
        lambda job, worker: pipeline.build(job, worker, DatasetSpec.from_plan(worker, plan), front_end),
    )
    result, was_there = begun.run(options, overwrite=overwrite)
    if result is not None and not was_there:
        log_summary(config, plan, result, time.monotonic() - began)
    return result


def load_manifest(output: str) -> Manifest | None:
    """Return the manifest of a dataset on any file system, or None if there is none.

    Raises:
      UserError: it is damaged.
      OSError: it cannot be read.
    """
    uri = storage.join(output, manifest.FILE_NAME)
    try:
        text = storage.read_text(uri)
    except UnicodeDecodeError:
        raise UserError(f"{uri}: not a manifest (not UTF-8 text); write the dataset again") from None
    return None if text is None else Manifest.from_json(text, uri)


DATASET = Kind(
    noun="dataset",
    last_file=manifest.FILE_NAME,
    other_files=(finish.METRICS_FILE, *tfds.FILES),
    shard_name=re.compile(r"[a-z][a-z0-9_]*-[A-Za-z0-9_]+\.tfrecord-\d{5}-of-\d{5}"),
    load=load_manifest,
    shards_in=lambda found: [shard.file for part in found.parts.values() for shard in part.shards],
)


def claim_output(output: str, plan: Plan, *, overwrite: bool) -> Manifest | None:
    """Prepare an output for a dataset, as `beam_preprocess.launch.claim_output` does."""
    return launch.claim_output(output, plan, kind=DATASET, overwrite=overwrite)
