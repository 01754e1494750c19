"""The launcher: lists, plans, checks what is in the output already, runs the pipeline, and says how it went."""

import contextlib
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beam_preprocess import finish, pipeline, splits, storage
from beam_preprocess.config import JobConfig
from beam_preprocess.finish import Dataset
from beam_preprocess.log_mel import FrontEnd
from beam_preprocess.plan import Plan, make_plan
from beam_preprocess.progress import Progress
from beam_preprocess.tracks import Track, list_tracks
from beam_preprocess.write_shard import kept_result
from tfrecords import manifest
from tfrecords.command_line import UserError
from tfrecords.info import aligned
from tfrecords.manifest import Manifest

_JOB_FILE = "job.json"
_SHOWN_GROUPS = 3


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
    tracks = list_tracks(config.source, label_column=config.label_column, group_column=config.group_column)
    plan = _plan(config, tracks)
    _say(f"{config.source}: {len(tracks)} tracks, {len(plan.labels)} labels, {len(plan.shards)} shards")
    _say(_part_table(plan))
    _warn_of_missing_labels(plan)
    if done := _claim_output(config, plan, overwrite):
        _say(f"{config.output} holds this dataset already: nothing to do (--overwrite starts over)")
        return done
    _run_pipeline(config, plan, front_end, options)
    result = _load_manifest(config.output)
    if result is None:
        raise UserError(f"{config.output}: the job ended without a manifest; see the engine's log")
    _report(config, result, time.monotonic() - began)
    return result


def _plan(config: JobConfig, tracks: Sequence[Track]) -> Plan:
    labels = sorted({track.label for track in tracks})
    if len(labels) < 2:
        raise UserError(
            f"{config.source}: only one label, {labels[0]!r}: nothing to tell apart; "
            "put each genre's files in a folder of its own"
        )
    split = config.split
    parts: Sequence[str | None]
    if split.split_lists:
        parts = splits.assign_by_lists(tracks, splits.read_lists(split.split_lists))
        record: dict[str, Any] = {"method": "lists"}
        if left_out := parts.count(None):
            _say(f"{left_out} tracks are in none of the lists and are left out")
    elif split.train_size is not None:
        weights = splits.size_weights(split.train_size, split.valid_size)
        parts = splits.assign(tracks, weights, seed=split.seed)
        record = {"method": "sizes", "weights": weights, "seed": split.seed}
    else:
        parts = splits.assign(tracks, splits.fold_weights(split.folds), seed=split.seed)
        record = {"method": "folds", "folds": split.folds, "seed": split.seed}
    groups = {track.group for track in tracks}
    torn = splits.torn_groups(tracks, parts)
    if torn:
        shown = ", ".join(torn[:_SHOWN_GROUPS]) + (", ..." if len(torn) > _SHOWN_GROUPS else "")
        _say(f"warning: {len(torn)} groups are in more than one part ({shown}): scores will look better than they are")
    record |= {"groups": len(groups), "grouped": len(groups) < len(tracks), "group_safe": not torn}
    return make_plan(config, tracks, parts, record)


def _part_table(plan: Plan) -> str:
    counts = plan.label_counts()
    rows = [[part, *(str(counts[part][label]) for label in plan.labels)] for part in plan.parts]
    return aligned([["part", *plan.labels], *rows])


def _warn_of_missing_labels(plan: Plan) -> None:
    missing = [f"{part} lacks {', '.join(set_)}" for part, set_ in _missing_labels(plan).items()]
    if missing:
        more = f"; {len(missing) - _SHOWN_GROUPS} parts more" if len(missing) > _SHOWN_GROUPS else ""
        _say(f"warning: too few groups to have each label in each part: {'; '.join(missing[:_SHOWN_GROUPS])}{more}")


def _missing_labels(plan: Plan) -> dict[str, list[str]]:
    counts = plan.label_counts()
    lacking = {part: [label for label in plan.labels if not counts[part][label]] for part in plan.parts}
    return {part: labels for part, labels in lacking.items() if labels}


def _claim_output(config: JobConfig, plan: Plan, overwrite: bool) -> Manifest | None:
    """Makes the output ours to write; returns its manifest if it holds this very dataset already.

    Raises:
      UserError: it holds something else, or cannot be written.
    """
    output = config.output
    job_uri = FileSystems.join(storage.partial_dir(output), _JOB_FILE)
    try:
        existing = _existing(output, overwrite)
        unfinished = json.loads(storage.read_text(job_uri) or "null")
        if overwrite:
            _clear(output, existing, unfinished)
        elif existing is not None and existing.fingerprint == plan.fingerprint:
            return existing
        elif existing is not None or (unfinished and unfinished["fingerprint"] != plan.fingerprint):
            state = "another dataset" if existing else "another, unfinished dataset"
            raise UserError(f"{output} already holds {state}; choose another --output, or --overwrite it")
        storage.make_directories(storage.partial_dir(output))
        claim = {"fingerprint": plan.fingerprint, "files": [shard.file for shard in plan.shards]}
        storage.write_text(output, f"{manifest.PARTIAL_DIR}/{_JOB_FILE}", json.dumps(claim))
        lines = "".join(f"{shard.to_json()}\n" for shard in plan.shards)
        storage.write_text(output, f"{manifest.PARTIAL_DIR}/{pipeline.PLAN_FILE}", lines)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--output={output} cannot be used: {getattr(error, 'strerror', None) or error}") from None
    return None


def _existing(output: str, overwrite: bool) -> Manifest | None:
    try:
        return _load_manifest(output)
    except UserError:
        # A damaged manifest must not bar the way to writing it again.
        if overwrite:
            return None
        raise


def _clear(output: str, existing: Manifest | None, unfinished: dict[str, Any] | None) -> None:
    """Removes a dataset, manifest first; nothing but files that a job wrote."""
    shards = [shard.file for part in existing.parts.values() for shard in part.shards] if existing else []
    names = [
        manifest.FILE_NAME,
        *shards,
        *(unfinished or {}).get("files", ()),
        finish.REJECTS_FILE,
        finish.METRICS_FILE,
    ]
    storage.delete([FileSystems.join(output, name) for name in dict.fromkeys(names)])
    storage.delete([storage.partial_dir(output)])


def _run_pipeline(config: JobConfig, plan: Plan, front_end: FrontEnd, options: PipelineOptions) -> None:
    local = storage.local_path(config.output)
    kept = sum(kept_result(config.output, shard) is not None for shard in plan.shards)
    if kept:
        _say(f"an earlier run was interrupted: {kept} of {len(plan.shards)} shards are kept")
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


def _load_manifest(output: str) -> Manifest | None:
    uri = FileSystems.join(output, manifest.FILE_NAME)
    text = storage.read_text(uri)
    return None if text is None else Manifest.from_json(text, uri)


def _report(config: JobConfig, result: Manifest, elapsed_s: float) -> None:
    frames = sum(shard.frames for part in result.parts.values() for shard in part.shards)
    audio_s = frames / result.frames_per_s
    tracks = sum(result.tracks(["all"]).values())
    rejects = sum(result.rejects.values())
    _say(
        f"wrote {tracks} tracks ({audio_s / 3600:.2f} hours) to {config.output} in {elapsed_s:.1f} s, "
        f"{audio_s / elapsed_s:,.0f} times real time; {rejects} rejected"
        + (f": see {FileSystems.join(config.output, finish.REJECTS_FILE)}" if rejects else "")
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
