"""The launcher of an audit: lists and deals the tracks as the preprocessing job does, and runs the pipeline."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from beam_preprocess import engine, launch, shards, storage
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.audit import analysis, findings, pipeline, report
from beam_preprocess.audit.analysis import AnalyzedShard, AnalyzedTrack
from beam_preprocess.audit.pipeline import Match
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs import archive
from beam_preprocess.inputs.tracks import Track, absolute
from beam_preprocess.plan import Plan, plan_job
from beam_preprocess.progress import Progress
from beam_preprocess.shards import Rejected
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log

AUDIT_FILE = "audit.json"
_KIND = "audit"


def run(
    config: JobConfig, *, beam_args: Sequence[str] = (), own_flags: Iterable[str] = (), max_pictures: int = 20
) -> dict[str, Any]:
    """Run a whole audit, and return the content of audit.json.

    Args:
      config: of the preprocessing job whose input and split are audited; its output is the audit's directory.
      beam_args: Beam's own command line.
      own_flags: names of our flags, to tell a misspelt one from one of an engine.
      max_pictures: pairs to draw.

    Raises:
      UserError: bad input or output, or another process writes to the output.
    """
    began = time.monotonic()
    options = engine.parse_options(beam_args, own_flags=own_flags)
    if engine.is_template(options):
        raise UserError("an audit cannot be made a template: it reports when its job has ended")
    tracks = launch.list_input(config)
    engine.check_reach(options, config.output, tracks)
    plan = plan_job(config, tracks)
    # Workers may run in another directory than the launcher.
    config = dataclasses.replace(config, output=absolute(config.output))
    with launch.lock_output(config.output):
        _prepare_output(config.output, plan)
        if archive.is_archive(config.source):
            archive.unpack(config, tracks)
        listed, analyses, matches = _by_name(plan, *_analyze(config, plan, options))
        audit = _write_audit(config, plan, listed, analyses, matches, max_pictures)
    log(f"listened to {len(analyses)} tracks in {time.monotonic() - began:.1f} s")
    return audit


def _prepare_output(output: str, plan: Plan) -> None:
    """Delete what an earlier audit left in the output, but for the shards of one that was interrupted.

    Raises:
      UserError: it holds the result of another job, or an unfinished one, or cannot be written.
    """
    with storage.reporting(f"`output={output}` cannot be used"):
        launch.check_kind(output, AUDIT_FILE)
        unfinished = launch.unfinished_job(output)
        if unfinished and unfinished.kind != _KIND:
            raise UserError(f"{output} holds an unfinished {unfinished.kind}; choose another `output`")
        storage.delete([storage.join(output, AUDIT_FILE)])
        report.delete_pictures(output)
        if unfinished and unfinished.configuration != plan.configuration:
            storage.delete_tree(storage.partial_dir(output))
        launch.write_job(output, plan, (), kind=_KIND)
        launch.write_plan(output, plan)


def _analyze(
    config: JobConfig, plan: Plan, options: PipelineOptions
) -> tuple[list[AnalyzedTrack | Rejected], list[Match]]:
    """Run the pipeline; return what was found out about each track, by number, and the pairs that match."""

    with Progress.of(config.output, plan, sys.stderr, result_type=AnalyzedShard):
        engine.run_pipeline(options, lambda root: pipeline.build(root, config, plan), explain=launch.explain)
    matches = pipeline.read_matches(config.output)
    results = [shards.read_result(config.output, shard, AnalyzedShard) for shard in plan.shards]
    analyses = [item for result in results if result for item in result.analyses]
    if matches is None or len(analyses) != plan.num_tracks:
        raise UserError(
            f"{config.output}: {len(analyses)} of {plan.num_tracks} tracks were listened to; "
            "every worker has to reach this directory under this name"
        )
    return analyses, matches


def _by_name(
    plan: Plan, analyses: Sequence[AnalyzedTrack | Rejected], matches: Iterable[Match]
) -> tuple[list[tuple[Track, str]], list[AnalyzedTrack | Rejected], list[Match]]:
    """Return the tracks with their parts, their analyses and the matches, with tracks numbered in order of names."""
    listed = analysis.tracks_of(plan)
    order = sorted(range(len(listed)), key=lambda number: listed[number][0].track_id)
    rank = {number: place for place, number in enumerate(order)}
    renumbered = []
    for first, second, alignment in matches:
        if rank[first] < rank[second]:
            renumbered.append((rank[first], rank[second], alignment))
        else:
            renumbered.append((rank[second], rank[first], alignment.reversed()))
    return [listed[number] for number in order], [analyses[number] for number in order], renumbered


def _write_audit(
    config: JobConfig,
    plan: Plan,
    listed: list[tuple[Track, str]],
    analyses: list[AnalyzedTrack | Rejected],
    matches: list[Match],
    max_pictures: int,
) -> dict[str, Any]:
    """Write audit.json, after its pictures, and return its content."""
    found = findings.recordings(analyses, matches)
    audit = findings.make_audit(plan, listed, analyses, found, sample_rate=config.front_end.sample_rate)
    with storage.reporting(f"`output={config.output}` cannot be used"):
        if drawn := findings.pairs_to_draw(found, [part for _, part in listed], max_pictures):
            # The front end takes seconds to build, and audits of a clean set draw nothing.
            audit["pictures"] = report.draw_pairs(config.output, drawn, listed, FrontEnd(config.front_end))
        storage.write_text(config.output, AUDIT_FILE, json.dumps(audit, indent=1) + "\n")
        storage.delete_tree(storage.partial_dir(config.output))
    return audit
