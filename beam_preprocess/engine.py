"""What runs the pipeline: Beam's options, the runner, and what a person is told when it fails."""

import contextlib
import dataclasses
import difflib
import io
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import grpc
import threadpoolctl
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.runners.runner import PipelineResult, PipelineState

from beam_preprocess import finish, output_error, pipeline, storage, summary
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig
from beam_preprocess.finish import Dataset
from beam_preprocess.inputs.tracks import Track, absolute
from beam_preprocess.plan import Plan
from beam_preprocess.progress import Progress
from beam_preprocess.write_shard import end_children
from tfrecords.common import shutdown
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import no_warnings

# Ours by Beam's own names: its DirectRunner tries to download an engine first, then silently falls back to this one.
_LOCAL_RUNNERS = ("", "direct", "fnapi")
# How long to look for a job server; Beam's own five minutes are for services that are yet to start.
_JOB_SERVER_TIMEOUT_S = 60


def parse_options(beam_args: Sequence[str], *, own_flags: Iterable[str] = ()) -> PipelineOptions:
    """Beam's options, with every core in use where the user does not say otherwise.

    Args:
      beam_args: what is left of the command line without our flags.
      own_flags: names of our flags.

    Raises:
      UserError: a word is no flag, a value is not what Beam takes, or a flag is neither ours nor Beam's (other engines
        have flags of their own, so there it may pass unless it looks like one of ours).
    """
    for before, word in zip(("", *beam_args), beam_args, strict=False):
        # Beam takes "--flag value" for "--flag=value", and drops other words without a sound.
        if not word.startswith("-") and (not before.startswith("--") or "=" in before):
            raise UserError(f"unexpected argument {word!r}; flags are written --name=value (see --help)")
    options, unknown = _parse(beam_args)
    # Lists of inputs are read, and outputs claimed, before there is a pipeline to set this.
    FileSystems.set_options(options)
    for name in unknown:
        if similar := difflib.get_close_matches(name, own_flags, n=1):
            raise UserError(f"unknown flag --{name}; did you mean --{similar[0]}?")
    if is_local(options):
        if unknown:
            raise UserError(f"unknown flag --{unknown[0]} (see --help; Beam's own flags are accepted too)")
        direct = options.view_as(DirectOptions)
        if not any(argument.startswith("--direct_num_workers") for argument in beam_args):
            direct.direct_num_workers = os.cpu_count() or 1
        if not any(argument.startswith("--direct_running_mode") for argument in beam_args):
            # Threads, not processes: libsndfile, soxr and scipy.fft release the interpreter, and a process more costs
            # seconds of imports. Two threads take half the time of two processes on a thousand clips.
            direct.direct_running_mode = "multi_threading"
    elif not any(argument.replace("-", "_").startswith("__job_server_timeout") for argument in beam_args):
        options.view_as(PortableOptions).job_server_timeout = _JOB_SERVER_TIMEOUT_S
    return options


def _parse(beam_args: Sequence[str]) -> tuple[PipelineOptions, list[str]]:
    """Beam's options, and the names of those that Beam does not know."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), no_warnings():
            options = PipelineOptions(list(beam_args))
            every, known = options.get_all_options(retain_unknown_options=True), options.get_all_options()
    except SystemExit:
        # argparse prints all it knows, then what is wrong, then leaves.
        raise UserError(said.getvalue().strip().rpartition("error: ")[2]) from None
    return options, sorted(set(every) - set(known))


def is_local(options: PipelineOptions) -> bool:
    """Whether the job runs on this machine, in Beam's local runner."""
    return _plain(_runner(options)) in _LOCAL_RUNNERS


def is_template(options: PipelineOptions) -> bool:
    """Whether the job is only described here, for Dataflow to run it later (a Flex Template's launcher does this)."""
    return bool(options.view_as(GoogleCloudOptions).template_location)


def _runner(options: PipelineOptions) -> str:
    """The runner's name as it was given; empty where none was."""
    return options.view_as(StandardOptions).runner or ""


def _plain(runner: str) -> str:
    """The runner's name without what Beam does not mind: case, and "Runner" at its end."""
    return runner.lower().removesuffix("runner")


def check_reach(options: PipelineOptions, output: str, tracks: Iterable[Track]) -> None:
    """Checks that the workers can read and write what the job names, as far as that is known beforehand.

    Raises:
      UserError: Dataflow is to read or write files of this machine.
    """
    if _plain(_runner(options)) != "dataflow":
        return
    here = next((uri for uri in (output, *(track.uri for track in tracks)) if storage.local_path(uri)), None)
    if here is not None:
        raise UserError(
            f"--runner=DataflowRunner: {here} is on this machine, out of the workers' reach; use gs:// paths"
        )


def execute(config: JobConfig, plan: Plan, front_end: FrontEnd, options: PipelineOptions) -> None:
    """Runs the pipeline to its end, with its progress on standard error; a template is only handed over.

    Raises:
      UserError: too many rejects, no such runner, a worker cannot write, or the engine failed.
    """
    here = storage.local_path(config.output)
    # Workers may run in another directory than the launcher.
    reachable = dataclasses.replace(config, output=absolute(config.output))
    with contextlib.ExitStack() as stack:
        if here and not is_template(options):
            stack.enter_context(Progress(here, plan, sys.stderr))
        try:
            run_pipeline(
                options,
                lambda job: pipeline.build(job, reachable, Dataset.of(reachable, plan), front_end),
                explain=lambda error: _explain(config, plan, error),
            )
        except finish.TooManyRejectsError:
            # They are seen best by label.
            summary.tell_rejects(config, plan)
            raise


def run_pipeline(
    options: PipelineOptions, build: Callable[[beam.Pipeline], object], *, explain: Callable[[str], None]
) -> None:
    """Runs a pipeline to its end; a template is only handed over.

    Args:
      options: Beam's.
      build: adds the stages to an empty pipeline.
      explain: raises UserError if a failure, given as the engine's text, is one that a person can mend.

    Raises:
      UserError: no such runner, or the engine failed.
    """
    local = is_local(options)
    with contextlib.ExitStack() as stack:
        if local:
            # Workers of this process print each traceback besides raising it; and they limit its BLAS for good.
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            stack.enter_context(threadpoolctl.threadpool_limits(1, user_api="blas"))
            stack.enter_context(_without_timed_flush())
            stack.enter_context(shutdown.cleanup_on_signal(end_children))
            stack.enter_context(_logging_at(logging.CRITICAL, "apache_beam"))
        else:
            # The page on which the job can be watched, and what its service says of it.
            stack.enter_context(_logging_at(logging.INFO, "apache_beam.runners.dataflow"))
            words = "the engine may still run the job: end it there before this command is run again"
            stack.enter_context(shutdown.cleanup_on_signal(lambda: shutdown.print_line(words)))
        job = make_pipeline(options)
        build(job)
        try:
            result = job.run()
            if not is_template(options):
                _wait(result)
        except Exception as error:
            explain(str(error))
            if local:
                raise
            raise UserError(f"--runner={_runner(options)}: the job failed: {_cause(error)}") from error


@contextlib.contextmanager
def _logging_at(level: int, name: str) -> Iterator[None]:
    """Has a logger, and those below it, log from a level on."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _without_timed_flush() -> Iterator[None]:
    """Keeps Beam's local workers from sending an element that is only half written.

    Each second a thread of its own sends what is in a worker's output buffer (apache-beam 2.77.0,
    runners/worker/data_plane.py, TimeBasedBufferingClosableOutputStream), while another may be in the middle of an
    element whose encoding runs Python, such as a pickled one: the element is torn, and what is written meanwhile is
    lost. Without a time limit, buffers are sent between elements, by their size and at their end.
    """
    before = worker_handlers.DATA_BUFFER_TIME_LIMIT_MS
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0
    try:
        yield
    finally:
        worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = before


def _wait(result: PipelineResult) -> None:
    """Until the job has ended.

    Raises:
      UserError: not by its own success.
    """
    result.wait_until_finish()
    if result.state != PipelineState.DONE:
        raise UserError(f"it ended as {result.state}")


def make_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """A pipeline on the runner asked for; by default on this machine, without looking for another engine first.

    Raises:
      UserError: Beam has no such runner, or lacks what it needs.
    """
    runner = _LocalRunner() if is_local(options) else None
    try:
        return beam.Pipeline(runner=runner, options=options)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"--runner={_runner(options)} cannot be used: {storage.cause(error)}") from None


class _LocalRunner(FnApiRunner):
    """Beam's local runner, whose workers leave Ctrl-C to their launcher also where they are processes."""

    def run_via_runner_api(self, pipeline_proto: beam_runner_api_pb2.Pipeline, options: PipelineOptions) -> Any:
        """Runs a pipeline whose workers' environments are known by now."""
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                # A command of the shell.
                environment.payload = b"trap '' INT; exec " + environment.payload
        return super().run_via_runner_api(pipeline_proto, options)


def _explain(config: JobConfig, plan: Plan, error: str) -> None:
    """Raises UserError if a failure is one that a person can mend; an engine reports it as text."""
    text = storage.read_text(FileSystems.join(config.output, finish.REJECTS_FILE))
    reasons = Counter(json.loads(line)["reason"] for line in (text or "").splitlines())
    finish.check_rejects(config, reasons, plan.num_tracks)
    if told := output_error.told_in(error):
        raise UserError(f"{told}; mend it and run the command again, it keeps what is done")


def _cause(error: Exception) -> str:
    """What an engine says of a failure, without the workers' tracebacks, which it has logged."""
    if isinstance(error, grpc.FutureTimeoutError):
        return "no job server answers at --job_endpoint (--job_server_timeout is how long to wait)"
    if isinstance(error, grpc.RpcError):
        return f"{error.details()} ({error.code().name})"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
