"""The launcher of an audit: lists and deals the tracks as the preprocessing job does, runs the pipeline, and reports."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beam_preprocess import archive, claim, engine, storage
from beam_preprocess.audit import batch, findings, pictures, pipeline
from beam_preprocess.audit.duplicates import listened_to, recordings
from beam_preprocess.audit.progress import AuditProgress
from beam_preprocess.audit.sound import Sound
from beam_preprocess.config import JobConfig
from beam_preprocess.job import list_input
from beam_preprocess.log_mel import FrontEnd
from beam_preprocess.messages import say
from beam_preprocess.plan import Plan
from beam_preprocess.planning import plan_job
from beam_preprocess.tracks import absolute
from tfrecords.command_line import UserError
from tfrecords.manifest import FILE_NAME

AUDIT_FILE = "audit.json"


def run(
    config: JobConfig, *, beam_args: Sequence[str] = (), own_flags: Iterable[str] = (), max_pictures: int = 20
) -> dict[str, Any]:
    """Runs a whole audit and returns what audit.json holds.

    Args:
      config: the preprocessing job whose input and split are audited; its output is the audit's directory.
      beam_args: Beam's own command line.
      own_flags: names of our flags, to tell a misspelt one from one of an engine.
      max_pictures: pairs to draw.

    Raises:
      UserError: bad input or output.
    """
    began = time.monotonic()
    options = engine.parse_options(beam_args, own_flags=own_flags)
    if engine.is_template(options):
        raise UserError("an audit cannot be made a template: it reports when its job has ended")
    tracks = list_input(config)
    engine.check_reach(options, config.output, tracks)
    plan = plan_job(config, tracks)
    # Workers may run in another directory than the launcher.
    config = dataclasses.replace(config, output=absolute(config.output))
    _claim(config.output, plan)
    if archive.is_archive(config.source):
        archive.unpack(config, tracks)
    heard, matches = _listen(config, plan, options)
    sounds = {number: item for number, item in enumerate(heard) if isinstance(item, Sound)}
    found = recordings({number: (sound.content, sound.duration_s) for number, sound in sounds.items()}, matches)
    audit = findings.make_audit(plan, heard, found)
    with storage.reporting(f"--output={config.output} cannot be used"):
        numbered = batch.tracks_of(plan)
        drawn = listened_to(found, {number: part for number, (_, part) in enumerate(numbered)}, max_pictures)
        if drawn:
            # Costs seconds (librosa makes its filters), and most audits of a clean set draw nothing.
            names = pictures.draw_pairs(config.output, drawn, numbered, FrontEnd(config.front_end))
            audit["pictures"] = {
                name: [numbered[number][0].track_id for number in (pair.first, pair.second)]
                for name, pair in zip(names, drawn, strict=True)
            }
        storage.write_text(config.output, AUDIT_FILE, json.dumps(audit, indent=1) + "\n")
        storage.delete([storage.partial_dir(config.output)])
    say(f"listened to {len(heard)} tracks in {time.monotonic() - began:.1f} s")
    return audit


def _claim(output: str, plan: Plan) -> None:
    """Makes the output ours to write, without what an earlier audit left there, and puts the batches into it.

    Raises:
      UserError: it holds a dataset, or an unfinished one, or cannot be written.
    """
    with storage.reporting(f"--output={output} cannot be used"):
        unfinished = FileSystems.join(storage.partial_dir(output), claim.JOB_FILE)
        for uri in (FileSystems.join(output, FILE_NAME), unfinished):
            if FileSystems.exists(uri):
                raise UserError(f"{output} holds a dataset, or one that is not finished; choose another --output")
        storage.delete([FileSystems.join(output, AUDIT_FILE)])
        pictures.delete_pictures(output)
        storage.make_directories(storage.partial_dir(output))
        with storage.replacing(output, pipeline.PLAN_FILE) as file:
            for item in batch.batches(plan):
                file.write(f"{item.to_json()}\n".encode("ascii"))


def _listen(config: JobConfig, plan: Plan, options: PipelineOptions) -> tuple[list[Any], list[pipeline.Match]]:
    """Runs the pipeline; gives what was heard of each track, by number, and the pairs that match."""

    def explain(error: str) -> None:
        if cause := engine.system_error(error, local=engine.is_local(options)):
            raise UserError(f"{config.output}: {cause}; mend it and run the command again")

    sizes = [len(shard.tracks) for shard in plan.shards]
    with AuditProgress.of(config.output, plan, sys.stderr):
        engine.run_pipeline(options, lambda job: pipeline.build(job, config, sizes), explain=explain)
    matches = pipeline.read_matches(config.output)
    heard = [item for number in range(len(sizes)) for item in batch.read_heard(config.output, number)]
    if matches is None or len(heard) != plan.num_tracks:
        raise UserError(
            f"{config.output}: {len(heard)} of {plan.num_tracks} tracks were listened to; "
            "every worker has to reach this directory under this name"
        )
    return heard, matches
