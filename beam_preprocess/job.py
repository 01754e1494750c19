"""The output directory: whose dataset it holds, and making it ours to write.

The launcher: lists, plans, checks what is in the output already, runs the pipeline, and says how it went.
"""

import contextlib
import dataclasses
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import PurePosixPath

from apache_beam.io.filesystems import FileSystems

from beam_preprocess import engine, finish, pipeline, storage
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs import archive
from beam_preprocess.inputs.tracks import Track, list_tracks
from beam_preprocess.plan import Plan, plan_job
from beam_preprocess.summary import tell_summary
from beam_preprocess.write_shard import sidecar
from tfrecords import manifest, tfds
from tfrecords.common import files, json_data, shutdown
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log
from tfrecords.manifest import Manifest

JOB_FILE = "job.json"
_SHARD_NAME = re.compile(r"[a-z][a-z0-9_]*-[A-Za-z0-9_]+\.tfrecord-\d{5}-of-\d{5}")


@dataclasses.dataclass(frozen=True)
class _Job:
    """What an unfinished job leaves in .partial/job.json.

    Attributes:
      configuration: fingerprint of what all its shards have in common.
      files: shards that may be there already.
    """

    configuration: str
    files: tuple[str, ...]


@contextlib.contextmanager
def lock_output(output: str) -> Iterator[None]:
    """Makes an output on this machine and has it for this process alone; on other file systems it does nothing.

    Two jobs, or a job and an audit, would delete each other's files. What workers have half written when they are ended
    goes with the next one, or at once where a signal ends this process, which ends its workers first.

    Raises:
      UserError: another process is writing to it, or it cannot be used.
    """
    path = storage.local_path(output)
    if path is None:
        yield
        return
    with storage.reporting(f"--output={output} cannot be used"):
        storage.make_directories(output)
    with files.lock_directory(path, "writing"), shutdown.cleanup_on_signal(lambda: storage.delete_temporary(path)):
        storage.delete_temporary(path)
        yield


def claim_output(output: str, plan: Plan, *, overwrite: bool) -> Manifest | None:
    """Makes the output ours to write; returns its manifest if it holds this very dataset already.

    An unfinished job of the same configuration goes on, also when some of its input has changed since: each shard's
    own fingerprint says whether it can be kept.

    Raises:
      UserError: it holds something else, or cannot be written.
    """
    with storage.reporting(f"--output={output} cannot be used"):
        job_uri = FileSystems.join(storage.partial_dir(output), JOB_FILE)
        existing = _existing(output, overwrite)
        unfinished = _unfinished(job_uri, overwrite)
        if overwrite:
            _clear(output, existing, unfinished, plan)
        elif existing is not None and existing.fingerprint == plan.fingerprint:
            storage.delete([storage.partial_dir(output)])
            return existing
        elif existing is not None or (unfinished and unfinished.configuration != plan.configuration):
            state = "another dataset" if existing else "another, unfinished dataset"
            raise UserError(f"{output} already holds {state}; choose another --output, or --overwrite it")
        files = [shard.file for shard in plan.shards]
        stale = {*unfinished.files, *tfds.FILES} - set(files) if unfinished and not overwrite else set()
        _delete_files(output, stale | {finish.REJECTS_FILE})
        _write_job(output, plan, files)
        with storage.replacing(output, f"{manifest.PARTIAL_DIR}/{pipeline.PLAN_FILE}") as file:
            for shard in plan.shards:
                file.write(f"{shard.to_json()}\n".encode("ascii"))
    return None


def _write_job(output: str, plan: Plan, names: Iterable[str]) -> None:
    """Says what is being written, and which shards may be there already."""
    storage.make_directories(storage.partial_dir(output))
    job = _Job(plan.configuration, tuple(names))
    storage.write_text(output, f"{manifest.PARTIAL_DIR}/{JOB_FILE}", json.dumps(dataclasses.asdict(job)))


def _existing(output: str, overwrite: bool) -> Manifest | None:
    try:
        return load_manifest(output)
    except UserError:
        # A damaged manifest must not bar the way to writing it again.
        if overwrite:
            return None
        raise


def _unfinished(job_uri: str, overwrite: bool) -> _Job | None:
    try:
        text = storage.read_text(job_uri)
        return json_data.build(_Job, json_data.parse(text)) if text else None
    except ValueError:
        if overwrite:
            return None
        raise UserError(f"{job_uri} is damaged; --overwrite starts over") from None


def _clear(output: str, existing: Manifest | None, unfinished: _Job | None, plan: Plan) -> None:
    """Removes a dataset, manifest first; nothing but files that a job wrote."""
    shards = [shard.file for part in existing.parts.values() for shard in part.shards] if existing else []
    if existing is None and FileSystems.exists(FileSystems.join(output, manifest.FILE_NAME)):
        # A damaged manifest names no files; shards are known by their names.
        shards = [name for name in storage.list_files(output) if _SHARD_NAME.fullmatch(name)]
    written = {*shards, *(unfinished.files if unfinished else ())}
    if shards:
        # Once the manifest is gone, only this names them: whoever goes on after an interruption deletes the rest.
        _write_job(output, plan, sorted(written))
    storage.delete([FileSystems.join(output, manifest.FILE_NAME)])
    _delete_files(output, {*written, finish.REJECTS_FILE, finish.METRICS_FILE, *tfds.FILES})
    storage.delete([storage.partial_dir(output)])


def _delete_files(output: str, names: Set[str]) -> None:
    """Deletes those of the files that are there, after one listing: to ask for each of thousands takes minutes."""
    there = storage.list_files(output)
    storage.remove([FileSystems.join(output, name) for name in sorted(there.keys() & names)])


def load_manifest(output: str) -> Manifest | None:
    """The manifest of a dataset on any file system, or None where there is none.

    Raises:
      UserError: it is damaged.
    """
    uri = FileSystems.join(output, manifest.FILE_NAME)
    try:
        text = storage.read_text(uri)
    except UnicodeDecodeError:
        raise UserError(f"{uri}: not a manifest (not UTF-8 text); write the dataset again") from None
    return None if text is None else Manifest.from_json(text, uri)


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
    with lock_output(config.output):
        if done := claim_output(config.output, plan, overwrite=overwrite):
            if engine.is_template(options):
                raise UserError(
                    f"{config.output} holds this dataset already: no job to describe (--overwrite starts over)"
                )
            log(f"{config.output} holds this dataset already: nothing to do (--overwrite starts over)")
            return done
        if archive.is_archive(config.source):
            archive.unpack(config, tracks)
        _tell_kept(config, plan)
        engine.execute(config, plan, front_end, options)
    if engine.is_template(options):
        log(f"the job is handed over; {config.output} is complete once it holds manifest.json")
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
        log(
            f"an earlier run was interrupted: it finished {finished} of {len(plan.shards)} shards; "
            "those that still hold are kept"
        )
