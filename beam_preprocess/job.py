"""The launcher of a job, and what it needs to know of the output directory.

It lists and plans the tracks, claims the output, runs the pipeline and reports the outcome.
"""

import contextlib
import dataclasses
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import PurePosixPath

from beam_preprocess import engine, finish, pipeline, storage
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs import archive
from beam_preprocess.inputs.tracks import Track, list_tracks
from beam_preprocess.plan import Plan, plan_job
from beam_preprocess.summary import log_summary
from beam_preprocess.write_shard import sidecar
from tfrecords import manifest, tfds
from tfrecords.common import files, json_data, shutdown
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log
from tfrecords.manifest import Manifest

JOB_FILE = "job.json"
_SHARD_NAME = re.compile(r"[a-z][a-z0-9_]*-[A-Za-z0-9_]+\.tfrecord-\d{5}-of-\d{5}")


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
    with lock_output(config.output):
        if existing := claim_output(config.output, plan, overwrite=overwrite):
            message = f"{config.output} holds this dataset already: nothing to do (`overwrite` starts over)"
            if engine.is_template(options):
                raise UserError(message)
            log(message)
            return existing
        if archive.is_archive(config.source):
            archive.unpack(config, tracks)
        _log_finished_shards(config, plan)
        engine.execute(config, plan, front_end, options)
    if engine.is_template(options):
        log(f"the job is handed over; {config.output} is complete once it holds manifest.json")
        return None
    result = load_manifest(config.output)
    if result is None:
        raise UserError(f"{config.output}: the job ended without a manifest; see the engine's log")
    log_summary(config, plan, result, time.monotonic() - began)
    return result


def list_input(config: JobConfig) -> list[Track]:
    """Return all tracks of a job's input, of whatever kind; an archive is not unpacked yet.

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


@contextlib.contextmanager
def lock_output(output: str) -> Iterator[None]:
    """Create an output on this machine and keep other processes from writing to it; elsewhere, do nothing.

    Two jobs, or a job and an audit, would delete each other's files. Half-written files of an interrupted job are
    deleted here, and also when a signal ends this process, after its workers.

    Raises:
      UserError: another process is writing to it, or it cannot be used.
    """
    with storage.reporting(f"{output} cannot be used"):
        path = storage.local_path(output)
        storage.make_directories(output)
    if path is None:
        yield
        return
    with files.lock_directory(path, "writing"), shutdown.cleanup_on_signal(lambda: storage.delete_temporary(path)):
        storage.delete_temporary(path)
        yield


@dataclasses.dataclass(frozen=True)
class _UnfinishedJob:
    """The content of .partial/job.json.

    Attributes:
      configuration: fingerprint of what all its shards have in common.
      files: shards that may exist already.
    """

    configuration: str
    files: tuple[str, ...]


def claim_output(output: str, plan: Plan, *, overwrite: bool) -> Manifest | None:
    """Prepare the output for a job and write the plan there; return its manifest if it holds this dataset already.

    An unfinished job of the same configuration is resumed, even if some of its input has changed since: each shard's
    fingerprint decides whether it can be kept.

    Raises:
      UserError: the output holds something else, or cannot be written.
    """
    with storage.reporting(f"{output} cannot be used"):
        existing = _existing_manifest(output, overwrite)
        unfinished = _unfinished_job(output, overwrite)
        if overwrite:
            _clear(output, existing, unfinished, plan)
        elif existing is not None and existing.fingerprint == plan.fingerprint:
            storage.delete_tree(storage.partial_dir(output))
            return existing
        elif existing is not None or (unfinished and unfinished.configuration != plan.configuration):
            state = "another dataset" if existing else "another, unfinished dataset"
            raise UserError(f"{output} already holds {state}; choose another `output`, or `overwrite` it")
        shards = [shard.file for shard in plan.shards]
        stale = {*unfinished.files, *tfds.FILES} - set(shards) if unfinished and not overwrite else set()
        _delete_files(output, stale | {finish.REJECTS_FILE})
        _write_job(output, plan, shards)
        with storage.replacing(output, f"{manifest.PARTIAL_DIR}/{pipeline.PLAN_FILE}") as file:
            for shard in plan.shards:
                file.write(f"{shard.to_json()}\n".encode("ascii"))
    return None


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


def _existing_manifest(output: str, overwrite: bool) -> Manifest | None:
    try:
        return load_manifest(output)
    except UserError:
        # A damaged manifest must not keep the dataset from being overwritten.
        if overwrite:
            return None
        raise


def _unfinished_job(output: str, overwrite: bool) -> _UnfinishedJob | None:
    uri = storage.join(storage.partial_dir(output), JOB_FILE)
    try:
        text = storage.read_text(uri)
        return json_data.build(_UnfinishedJob, json_data.parse(text)) if text else None
    except ValueError:
        if overwrite:
            return None
        raise UserError(f"{uri} is damaged; `overwrite` starts over") from None


def _write_job(output: str, plan: Plan, shards: Iterable[str]) -> None:
    """Record the job that is being written, and the shards that may exist already."""
    storage.make_directories(storage.partial_dir(output))
    job = _UnfinishedJob(plan.configuration, tuple(shards))
    storage.write_text(output, f"{manifest.PARTIAL_DIR}/{JOB_FILE}", json.dumps(dataclasses.asdict(job)))


def _clear(output: str, existing: Manifest | None, unfinished: _UnfinishedJob | None, plan: Plan) -> None:
    """Delete a dataset, its manifest first, and no files that a job did not write."""
    shards = [shard.file for part in existing.parts.values() for shard in part.shards] if existing else []
    if existing is None and storage.exists(storage.join(output, manifest.FILE_NAME)):
        # A damaged manifest lists no files; shards are recognized by their names.
        shards = [name for name in storage.list_files(output) if _SHARD_NAME.fullmatch(name)]
    written = {*shards, *(unfinished.files if unfinished else ())}
    if shards:
        # Once the manifest is gone, only this lists them: if this is interrupted, the next job deletes the rest.
        _write_job(output, plan, sorted(written))
    storage.delete([storage.join(output, manifest.FILE_NAME)])
    _delete_files(output, {*written, finish.REJECTS_FILE, finish.METRICS_FILE, *tfds.FILES})
    storage.delete_tree(storage.partial_dir(output))


def _delete_files(output: str, names: Set[str]) -> None:
    """Delete those of the files that exist, after one listing: checking thousands one by one takes minutes."""
    existing = storage.list_files(output)
    storage.delete([storage.join(output, name) for name in sorted(existing.keys() & names)])


def _log_finished_shards(config: JobConfig, plan: Plan) -> None:
    """Log how far an interrupted run came. Workers decide what to keep; that reads a file for each shard."""
    existing = storage.list_files(storage.partial_dir(config.output))
    finished = sum(PurePosixPath(sidecar(shard.file)).name in existing for shard in plan.shards)
    if finished:
        log(
            f"an earlier run was interrupted: it finished {finished} of {len(plan.shards)} shards; "
            "those that are still valid are kept"
        )
