"""The launcher: lists, plans, checks what is in the output already, runs the pipeline, and says how it went."""

import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beam_preprocess import archive, finish, pipeline, storage
from beam_preprocess.claim import claim_output, load_manifest
from beam_preprocess.config import JobConfig
from beam_preprocess.finish import Dataset
from beam_preprocess.log_mel import FrontEnd
from beam_preprocess.messages import say
from beam_preprocess.plan import Plan
from beam_preprocess.planning import plan_job
from beam_preprocess.progress import Progress
from beam_preprocess.summary import tell_summary
from beam_preprocess.tracks import Track, list_tracks
from beam_preprocess.write_shard import kept_result, sidecar
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest


def run(config: JobConfig, *, beam_args: Sequence[str] = (), overwrite: bool = False) -> Manifest:
    """Runs a whole job and returns the dataset's manifest.

    Args:
      config: the job.
      beam_args: Beam's own command line.
      overwrite: start over where the output holds another dataset, or this one.

    Raises:
      UserError: bad input or output, too many rejects.
    """
    began = time.monotonic()
    options = pipeline.parse_options(beam_args)
    front_end = FrontEnd(config.front_end)
    tracks = _list(config)
    plan = plan_job(config, tracks)
    if done := claim_output(config.output, plan, overwrite=overwrite):
        say(f"{config.output} holds this dataset already: nothing to do (--overwrite starts over)")
        return done
    if archive.is_archive(config.source):
        archive.unpack(config, tracks)
    _run_pipeline(config, plan, front_end, options)
    result = load_manifest(config.output)
    if result is None:
        raise UserError(f"{config.output}: the job ended without a manifest; see the engine's log")
    tell_summary(config, plan, result, time.monotonic() - began)
    return result


def _list(config: JobConfig) -> list[Track]:
    if archive.is_archive(config.source):
        return archive.list_archive(config)
    return list_tracks(
        config.source,
        label_column=config.label_column,
        group_column=config.group_column,
        label_folder=config.label_folder,
    )


def _run_pipeline(config: JobConfig, plan: Plan, front_end: FrontEnd, options: PipelineOptions) -> None:
    local = storage.local_path(config.output)
    (results,) = FileSystems.match([FileSystems.join(config.output, sidecar("*"))])
    kept = sum(kept_result(config.output, shard) is not None for shard in plan.shards) if results.metadata_list else 0
    if kept:
        say(f"an earlier run was interrupted: {kept} of {len(plan.shards)} shards are kept")
    # The error that is raised says all that Beam's loggers would say first, at length.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    try:
        with Progress(local, plan) if local else contextlib.nullcontext():
            job = pipeline.make_pipeline(options)
            pipeline.build(job, config, Dataset.of(config, plan), front_end)
            job.run().wait_until_finish()
    except Exception as error:
        # An engine reports a stage's failure as text; the rejects on disk say whether it was that.
        text = storage.read_text(FileSystems.join(config.output, finish.REJECTS_FILE))
        reasons = Counter(json.loads(line)["reason"] for line in (text or "").splitlines())
        finish.check_rejects(config, reasons, plan.num_tracks)
        if "[Errno" in str(error):
            cause = str(error).strip().splitlines()[-1]
            raise UserError(f"{cause}; mend it and run the command again, it keeps what is done") from error
        raise
