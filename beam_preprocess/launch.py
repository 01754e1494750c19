"""Launching a job on any engine: what the launchers of every job here do alike.

An output is locked, claimed for one plan, resumed if it holds a part of that plan's shards, and filled by a pipeline.
"""

import contextlib
import dataclasses
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import PurePosixPath
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_preprocess import engine, finish, pipeline, storage, summary
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs import archive
from beam_preprocess.inputs.tracks import Track, absolute, list_tracks
from beam_preprocess.plan import Plan
from beam_preprocess.progress import Progress
from beam_preprocess.shards import Result, sidecar
from tfrecords import manifest
from tfrecords.common import files, json_data, shutdown
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log

JOB_FILE = "job.json"
PREDICTIONS_FILE = "predictions.json"
# The file that is written last -> what its directory holds.
_HELD = {manifest.FILE_NAME: "a dataset", PREDICTIONS_FILE: "a collection's predictions"}


class Finished(Protocol):
    """What the last file of an output tells."""

    @property
    def fingerprint(self) -> str:
        """Of the plan."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of output.

    Attributes:
      noun: what it is called.
      last_file: name of the file that is written last, and so makes it complete.
      other_files: names of the files beside that, the shards and rejects.jsonl.
      shard_name: pattern of the names of shards.
      load: output -> content of its last file; None if there is none; raises UserError if it is damaged.
      shards_in: that content -> names of its shards.
    """

    noun: str
    last_file: str
    other_files: tuple[str, ...]
    shard_name: re.Pattern[str]
    load: Callable[[str], Any]
    shards_in: Callable[[Any], list[str]]


@dataclasses.dataclass(frozen=True)
class Launch:
    """A job to run.

    Attributes:
      config: the job.
      tracks: of its input.
      plan: its plan.
      kind: of its output.
      result_type: of its shards' results.
      build: pipeline, config with an output that does not depend on the working directory -> adds the stages.
    """

    config: JobConfig
    tracks: Sequence[Track]
    plan: Plan
    kind: Kind
    result_type: type[Result]
    build: Callable[[beam.Pipeline, JobConfig], object]

    def run(self, options: PipelineOptions, *, overwrite: bool) -> tuple[Any, bool]:
        """Run the job, or what is left of it.

        Args:
          options: Beam's.
          overwrite: start over if the output holds another job's result, or this one's.

        Returns:
          Content of the last file, None if Dataflow runs the job later, from a template; and whether it was there
          already.

        Raises:
          UserError: bad input or output, another job writes to the output, too many rejects, the engine failed.
        """
        output, noun = self.config.output, self.kind.noun
        with lock_output(output):
            if existing := claim_output(output, self.plan, kind=self.kind, overwrite=overwrite):
                message = f"{output} holds this {noun} already: nothing to do (`overwrite` starts over)"
                if engine.is_template(options):
                    raise UserError(message)
                log(message)
                return existing, True
            if archive.is_archive(self.config.source):
                archive.unpack(self.config, self.tracks)
            _log_finished_shards(output, self.plan)
            self._execute(options)
        if engine.is_template(options):
            log(f"the job is handed over; {output} is complete once it holds {self.kind.last_file}")
            return None, False
        result = self.kind.load(output)
        if result is None:
            raise UserError(f"{output}: the job ended without {self.kind.last_file}; see the engine's log")
        return result, False

    def _execute(self, options: PipelineOptions) -> None:
        """Run the pipeline to its end, with progress on standard error; a template is only submitted."""
        # Workers may run in another directory than the launcher.
        config = dataclasses.replace(self.config, output=absolute(self.config.output))
        progress = Progress.of(config.output, self.plan, sys.stderr, result_type=self.result_type)
        with contextlib.nullcontext() if engine.is_template(options) else progress:
            try:
                engine.run_pipeline(options, lambda job: self.build(job, config), explain=self._explain)
            except finish.TooManyRejectsError:
                summary.log_rejects(self.config, self.plan)
                raise

    def _explain(self, error: str) -> None:
        """Raise UserError for a failure, given as an engine's text, that the user can correct."""
        rejects = storage.read_text(storage.join(self.config.output, finish.REJECTS_FILE)) or ""
        reasons = Counter(json.loads(line)["reason"] for line in rejects.splitlines())
        finish.check_rejects(self.config, reasons, self.plan.num_tracks)
        explain(error)


def explain(error: str) -> None:
    """Raise UserError for what an engine's text says that a worker could not read or write."""
    if message := storage.message_in(error):
        raise UserError(f"{message}; correct this and run the command again, it keeps what is done")


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
        needs_labels=config.needs_labels,
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
class UnfinishedJob:
    """The content of .partial/job.json.

    Attributes:
      configuration: fingerprint of what all its shards have in common.
      files: shards that may exist already.
      kind: what is being made, the noun of its Kind.
    """

    configuration: str
    files: tuple[str, ...]
    kind: str = "dataset"


def claim_output(output: str, plan: Plan, *, kind: Kind, overwrite: bool) -> Any:
    """Prepare the output for a job and write the plan there; return its last file's content if it is complete already.

    An unfinished job of the same configuration is resumed, even if some of its input has changed since: each shard's
    fingerprint decides whether it can be kept.

    Raises:
      UserError: the output holds something else, or cannot be written.
    """
    with storage.reporting(f"{output} cannot be used"):
        check_kind(output, kind.last_file)
        existing = _existing(output, kind, overwrite)
        unfinished = unfinished_job(output, overwrite=overwrite)
        if unfinished and unfinished.kind != kind.noun:
            raise UserError(f"{output} holds an unfinished {unfinished.kind}; choose another `output`")
        if overwrite:
            _clear(output, kind, existing, unfinished, plan)
        elif existing is not None and existing.fingerprint == plan.fingerprint:
            storage.delete_tree(storage.partial_dir(output))
            return existing
        elif existing is not None or (unfinished and unfinished.configuration != plan.configuration):
            state = f"another {kind.noun}" if existing else f"another, unfinished {kind.noun}"
            raise UserError(f"{output} already holds {state}; choose another `output`, or `overwrite` it")
        shards = [shard.file for shard in plan.shards]
        stale = {*unfinished.files, *kind.other_files} - set(shards) if unfinished and not overwrite else set()
        _delete_files(output, stale | {finish.REJECTS_FILE})
        write_job(output, plan, shards, kind=kind.noun)
        write_plan(output, plan)
    return None


def write_plan(output: str, plan: Plan) -> None:
    """Write the plan where the workers read it, a line for each shard."""
    with storage.replacing(output, f"{manifest.PARTIAL_DIR}/{pipeline.PLAN_FILE}") as file:
        for shard in plan.shards:
            file.write(f"{shard.to_json()}\n".encode("ascii"))


def check_kind(output: str, last_file: str) -> None:
    """Check that an output does not hold the result of a job of another kind, whose last file has another name.

    Raises:
      UserError: it does.
    """
    for name, held in _HELD.items():
        if name != last_file and storage.exists(storage.join(output, name)):
            raise UserError(f"{output} holds {held}; choose another `output`")


def _existing(output: str, kind: Kind, overwrite: bool) -> Any:
    try:
        return kind.load(output)
    except UserError:
        # A damaged file must not keep the output from being overwritten.
        if overwrite:
            return None
        raise


def unfinished_job(output: str, *, overwrite: bool = False) -> UnfinishedJob | None:
    """Return the job that an output holds a part of; None if there is none, or if it is damaged and overwritten.

    Raises:
      UserError: it is damaged.
    """
    uri = storage.join(storage.partial_dir(output), JOB_FILE)
    try:
        text = storage.read_text(uri)
        return json_data.build(UnfinishedJob, json_data.parse(text)) if text else None
    except ValueError:
        if overwrite:
            return None
        raise UserError(f"{uri} is damaged; `overwrite` starts over") from None


def write_job(output: str, plan: Plan, shards: Iterable[str], *, kind: str) -> None:
    """Record the job that is being written, and the shards that may exist already."""
    storage.make_directories(storage.partial_dir(output))
    job = UnfinishedJob(plan.configuration, tuple(shards), kind)
    storage.write_text(output, f"{manifest.PARTIAL_DIR}/{JOB_FILE}", json.dumps(dataclasses.asdict(job)))


def _clear(output: str, kind: Kind, existing: Any, unfinished: UnfinishedJob | None, plan: Plan) -> None:
    """Delete what an output holds, the file that makes it complete first, and no files that a job did not write."""
    shards = kind.shards_in(existing) if existing else []
    if existing is None and storage.exists(storage.join(output, kind.last_file)):
        # A damaged file lists no shards; they are recognized by their names.
        shards = [name for name in storage.list_files(output) if kind.shard_name.fullmatch(name)]
    written = {*shards, *(unfinished.files if unfinished else ())}
    if shards:
        # Once that file is gone, only this lists them: if this is interrupted, the next job deletes the rest.
        write_job(output, plan, sorted(written), kind=kind.noun)
    storage.delete([storage.join(output, kind.last_file)])
    _delete_files(output, {*written, finish.REJECTS_FILE, *kind.other_files})
    storage.delete_tree(storage.partial_dir(output))


def _delete_files(output: str, names: Set[str]) -> None:
    """Delete those of the files that exist, after one listing: checking thousands one by one takes minutes."""
    existing = storage.list_files(output)
    storage.delete([storage.join(output, name) for name in sorted(existing.keys() & names)])


def _log_finished_shards(output: str, plan: Plan) -> None:
    """Log how far an interrupted run came. Workers decide what to keep; that reads a file for each shard."""
    existing = storage.list_files(storage.partial_dir(output))
    finished = sum(PurePosixPath(sidecar(shard.file)).name in existing for shard in plan.shards)
    if finished:
        log(
            f"an earlier run was interrupted: it finished {finished} of {len(plan.shards)} shards; "
            "those that are still valid are kept"
        )
