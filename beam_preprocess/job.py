"""The launcher: lists, plans, checks what is in the output already, runs the pipeline, and says how it went."""

import time
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from beam_preprocess import archive, engine, storage
from beam_preprocess.claim import claim_output, load_manifest, sole_writer
from beam_preprocess.config import JobConfig
from beam_preprocess.log_mel import FrontEnd
from beam_preprocess.messages import say
from beam_preprocess.plan import Plan
from beam_preprocess.planning import plan_job
from beam_preprocess.summary import tell_summary
from beam_preprocess.tracks import Track, list_tracks
from beam_preprocess.write_shard import sidecar
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest


def run(
    config: JobConfig, *, beam_args: Sequence[str] = (), own_flags: Iterable[str] = (), overwrite: bool = False
) -> Manifest | None:
    """Runs a whole job and returns the dataset's manifest; None where Dataflow runs it later, from a template.

    Args:
      config: the job.
      beam_args: Beam's own command line.
      own_flags: names of our flags, to tell a misspelt one from one of an engine.
      overwrite: start over where the output holds another dataset, or this one.

    Raises:
      UserError: bad input or output, another job writes to the output, too many rejects.
    """
    began = time.monotonic()
    options = engine.parse_options(beam_args, own_flags=own_flags)
    front_end = FrontEnd(config.front_end)
    tracks = list_input(config)
    engine.check_reach(options, config.output, tracks)
    plan = plan_job(config, tracks)
    with sole_writer(config.output):
        if done := claim_output(config.output, plan, overwrite=overwrite):
            if engine.is_template(options):
                raise UserError(
                    f"{config.output} holds this dataset already: no job to describe (--overwrite starts over)"
                )
            say(f"{config.output} holds this dataset already: nothing to do (--overwrite starts over)")
            return done
        if archive.is_archive(config.source):
            archive.unpack(config, tracks)
        _tell_kept(config, plan)
        engine.execute(config, plan, front_end, options)
    if engine.is_template(options):
        say(f"the job is handed over; {config.output} is complete once it holds manifest.json")
        return None
    result = load_manifest(config.output)
    if result is None:
        raise UserError(f"{config.output}: the job ended without a manifest; see the engine's log")
    tell_summary(config, plan, result, time.monotonic() - began)
    return result


def list_input(config: JobConfig) -> list[Track]:
    """All tracks of a job's input, whatever kind it is; those of an archive are not unpacked yet.

    Raises:
      UserError: as `list_tracks` and `list_archive`.
    """
    if archive.is_archive(config.source):
        return archive.list_archive(config)
    return list_tracks(
        config.source,
        label_column=config.label_column,
        group_column=config.group_column,
        label_folder=config.label_folder,
    )


def _tell_kept(config: JobConfig, plan: Plan) -> None:
    """Tells of an earlier run. Each worker decides what to keep; to ask the same here would read a file a shard."""
    there = storage.list_files(storage.partial_dir(config.output))
    finished = sum(PurePosixPath(sidecar(shard.file)).name in there for shard in plan.shards)
    if finished:
        say(
            f"an earlier run was interrupted: it finished {finished} of {len(plan.shards)} shards; "
            "those that still hold are kept"
        )
