"""Running a pipeline: Beam's options, the runner, and a clear line when it fails."""

import contextlib
import difflib
import io
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
import threadpoolctl
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

from beam_preprocess import storage
from beam_preprocess.inputs.tracks import Track
from tfrecords.common import shutdown
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import no_warnings

# Beam's own DirectRunner tries to download another engine first, then silently falls back to the FnApiRunner.
_LOCAL_RUNNERS = ("", "direct", "fnapi")
# How long to wait for a job server. Beam's own five minutes are for services that are still starting.
_JOB_SERVER_TIMEOUT_S = 60


def parse_options(beam_args: Sequence[str], *, own_flags: Iterable[str] = ()) -> PipelineOptions:
    """Parse Beam's options; by default, the local runner uses every core.

    Args:
      beam_args: the command line without our own flags.
      own_flags: names of our own flags, to suggest one for a misspelt flag.

    Raises:
      UserError: a word is not a flag, Beam refuses a value, or a flag is unknown. Other engines have more flags than
        Beam knows, so for them an unknown flag passes unless it looks like one of ours.
    """
    for before, word in zip(("", *beam_args), beam_args, strict=False):
        # Beam takes "--flag value" for "--flag=value", and silently drops other words.
        if not word.startswith("-") and (not before.startswith("--") or "=" in before):
            raise UserError(f"unexpected argument {word!r}; flags are written --name=value (see --help)")
    options, unknown = _parse(beam_args)
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
            # Threads, not processes: libsndfile, soxr and scipy.fft release the GIL, and each process costs seconds
            # of imports. Two threads take half the time of two processes on a thousand clips.
            direct.direct_running_mode = "multi_threading"
    elif not any(argument.replace("-", "_").startswith("__job_server_timeout") for argument in beam_args):
        options.view_as(PortableOptions).job_server_timeout = _JOB_SERVER_TIMEOUT_S
    return options


def _parse(beam_args: Sequence[str]) -> tuple[PipelineOptions, list[str]]:
    """Return Beam's options and the names of the flags that Beam does not know."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr), no_warnings():
            options = PipelineOptions(list(beam_args))
            everything, known = options.get_all_options(retain_unknown_options=True), options.get_all_options()
    except SystemExit:
        # argparse prints its usage, then the error, then exits.
        raise UserError(stderr.getvalue().strip().rpartition("error: ")[2]) from None
    return options, sorted(set(everything) - set(known))


def is_local(options: PipelineOptions) -> bool:
    """Return whether the job runs on this machine, in Beam's local runner."""
    return _short_name(_runner(options)) in _LOCAL_RUNNERS


def is_template(options: PipelineOptions) -> bool:
    """Return whether the job is only described here, for Dataflow to run later (as a Flex Template's launcher does)."""
    return bool(options.view_as(GoogleCloudOptions).template_location)


def _runner(options: PipelineOptions) -> str:
    """Return the runner's name as it was given, or an empty string."""
    return options.view_as(StandardOptions).runner or ""


def _short_name(runner: str) -> str:
    """Return the runner's name without what Beam ignores: case, and a final "Runner"."""
    return runner.lower().removesuffix("runner")


def check_reach(options: PipelineOptions, output: str, tracks: Iterable[Track], *others: str) -> None:
    """Check that the workers can reach the job's files, as far as that is known beforehand.

    Args:
      options: Beam's.
      output: of the job.
      tracks: of its input.
      others: what else they read.

    Raises:
      UserError: Dataflow is to read or write files of this machine.
    """
    if _short_name(_runner(options)) != "dataflow":
        return
    local = next((uri for uri in (output, *others, *(track.uri for track in tracks)) if storage.local_path(uri)), None)
    if local is not None:
        raise UserError(
            f"--runner=DataflowRunner: {local} is on this machine, out of the workers' reach; use gs:// paths"
        )


def run_pipeline(
    options: PipelineOptions, build: Callable[[beam.Pipeline], object], *, explain: Callable[[str], None]
) -> None:
    """Run a pipeline to its end; a template is only submitted.

    Args:
      options: Beam's options.
      build: adds the stages to an empty pipeline.
      explain: gets a failure as the engine's text; raises UserError if it is one that the user can correct.

    Raises:
      UserError: no such runner, or the engine failed.
    """
    local = is_local(options)
    with contextlib.ExitStack() as stack:
        if local:
            # Workers in this process also print every traceback, and leave BLAS limited; both are undone here.
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            stack.enter_context(threadpoolctl.threadpool_limits(1, user_api="blas"))
            stack.enter_context(_without_timed_flush())
            stack.enter_context(shutdown.cleanup_on_signal(_kill_children))
            stack.enter_context(_logging_at(logging.CRITICAL, "apache_beam"))
        else:
            # Dataflow logs the page on which the job can be watched.
            stack.enter_context(_logging_at(logging.INFO, "apache_beam.runners.dataflow"))
            note = "the engine may still run the job: end it there before this command is run again"
            stack.enter_context(shutdown.cleanup_on_signal(lambda: shutdown.print_line(note)))
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
    """Set the level of a logger within the block."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _without_timed_flush() -> Iterator[None]:
    """Keep Beam's local workers from sending half-written elements.

    Each second, a thread sends what is in a worker's output buffer (apache-beam 2.77.0,
    runners/worker/data_plane.py, TimeBasedBufferingClosableOutputStream), while another may be in the middle of an
    element whose encoding runs Python, such as a pickled one: that element is cut in two, and what is written
    meanwhile is lost. Without a time limit, buffers are sent between elements, by their size and at their end.
    """
    before = worker_handlers.DATA_BUFFER_TIME_LIMIT_MS
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0
    try:
        yield
    finally:
        worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = before


def _kill_children() -> None:
    """Kill the processes that this one started, and theirs (on systems with /proc).

    Beam's worker processes would otherwise end only when they miss their launcher, and print errors.
    """
    for process in list(_descendants(os.getpid())):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _descendants(process: int) -> Iterator[int]:
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        # A thread or a process may have ended meanwhile.
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text("ascii").split()):
                yield from _descendants(child)
                yield child


def _wait(result: PipelineResult) -> None:
    """Wait for a job to end.

    Raises:
      UserError: it did not succeed.
    """
    result.wait_until_finish()
    if result.state != PipelineState.DONE:
        raise UserError(f"it ended as {result.state}")


def make_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """Return an empty pipeline on the runner that the options name; by default on Beam's local runner.

    Raises:
      UserError: Beam has no such runner, or lacks what it needs.
    """
    runner = _LocalRunner() if is_local(options) else None
    try:
        return beam.Pipeline(runner=runner, options=options)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"--runner={_runner(options)} cannot be used: {storage.cause(error)}") from None


class _LocalRunner(FnApiRunner):
    """Beam's local runner; worker processes ignore Ctrl-C, which is the launcher's to handle."""

    def run_via_runner_api(self, pipeline_proto: beam_runner_api_pb2.Pipeline, options: PipelineOptions) -> Any:
        """Run a pipeline whose environments are resolved."""
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                # The payload is a shell command.
                environment.payload = b"trap '' INT; exec " + environment.payload
        return super().run_via_runner_api(pipeline_proto, options)


def _cause(error: Exception) -> str:
    """Return one line on an engine's failure, without the workers' tracebacks, which are in the engine's log."""
    if isinstance(error, grpc.FutureTimeoutError):
        return "no job server answers at --job_endpoint (--job_server_timeout is how many seconds to wait)"
    if isinstance(error, grpc.RpcError):
        return f"{error.details()} ({error.code().name})"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
