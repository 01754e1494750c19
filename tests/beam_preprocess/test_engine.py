import dataclasses
import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import grpc
import pytest
import threadpoolctl
from apache_beam.options.pipeline_options import DirectOptions, PortableOptions, StandardOptions
from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.runners.runner import PipelineRunner, PipelineState

from beam_preprocess import engine, job, pipeline, storage
from beam_preprocess.shards import Rejected
from beam_preprocess.storage import OutputError
from tfrecords.common.command_line import UserError
from tfrecords.shard import RecordWriter


def test_every_core_is_used_by_threads_unless_told():
    direct = engine.parse_options([]).view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (os.cpu_count(), "multi_threading")
    args = ["--direct_num_workers=3", "--direct_running_mode=in_memory"]
    direct = engine.parse_options(args).view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (3, "in_memory")


def test_the_default_runner_looks_for_no_other_engine():
    made = engine.make_pipeline(engine.parse_options([]))
    assert isinstance(made.runner, FnApiRunner)


@pytest.mark.parametrize("name", ["DirectRunner", "FnApiRunner", "direct", "directrunner"])
def test_beams_names_of_the_local_runner_are_ours(name):
    made = engine.make_pipeline(engine.parse_options([f"--runner={name}"]))
    assert isinstance(made.runner, FnApiRunner)


def test_workers_that_are_processes_leave_ctrl_c_to_their_launcher(monkeypatch):
    handed = []
    monkeypatch.setattr(FnApiRunner, "run_via_runner_api", lambda self, proto, options: handed.append(proto))
    made = engine.make_pipeline(engine.parse_options(["--direct_running_mode=multi_processing"]))
    _ = made | beam.Create([1])
    made.run()
    environments = handed[0].components.environments.values()
    (command,) = (each.payload for each in environments if each.urn == python_urns.SUBPROCESS_SDK)
    assert command.startswith(b"trap '' INT; exec /")


def test_a_runner_of_choice_is_left_to_beam():
    options = engine.parse_options(["--runner=FlinkRunner", "--flink_master=localhost:8081", "--other=1"])
    assert options.view_as(StandardOptions).runner == "FlinkRunner"


@pytest.mark.parametrize(
    ("beam_args", "message"),
    [
        (["--fold=5"], "unknown flag --fold "),
        (["--direct_num_workers=2", "--nonsense"], "unknown flag --nonsense "),
        (["--direct_num_workers", "2", "music"], "unexpected argument 'music'"),
        (["music", "--direct_num_workers", "2"], "unexpected argument 'music'"),
        (["--direct_num_workers=2", "5"], "unexpected argument '5'"),
    ],
)
def test_mistaken_flags(beam_args, message):
    with pytest.raises(UserError, match=message):
        engine.parse_options(beam_args)


def test_a_flag_that_looks_like_ours_is_not_left_to_an_engine():
    with pytest.raises(UserError, match=r"unknown flag --num_shard; did you mean --num_shards\?"):
        engine.parse_options(["--runner=FlinkRunner", "--num_shard=3"], own_flags=["folds", "num_shards"])


def test_a_job_server_is_not_looked_for_for_minutes():
    def timeout_s(*more):
        options = engine.parse_options(["--runner=PortableRunner", "--job_endpoint=localhost:1", *more])
        return options.view_as(PortableOptions).job_server_timeout

    assert timeout_s() == 60
    assert timeout_s("--job_server_timeout=7") == timeout_s("--job-server-timeout=7") == 7


@pytest.mark.parametrize("flag", ["--direct_num_workers=abc", "--direct_running_mode=foo"])
def test_a_value_that_beam_refuses_is_one_line(flag, capfd):
    with pytest.raises(UserError, match="invalid"):
        engine.parse_options([flag])
    assert capfd.readouterr().err == ""


def test_an_unknown_runner_is_one_line():
    with pytest.raises(UserError, match="--runner=Foo cannot be used"):
        engine.make_pipeline(engine.parse_options(["--runner=Foo"]))


DATAFLOW = ["--runner=DataflowRunner"]


def test_dataflow_does_not_reach_this_machine(make_tracks):
    tracks = make_tracks([("jazz/a.wav", "jazz")])
    options = engine.parse_options(DATAFLOW)
    with pytest.raises(UserError, match=r"/in/jazz/a\.wav is on this machine, out of the workers' reach"):
        engine.check_reach(options, "gs://bucket/out", tracks)
    with pytest.raises(UserError, match="/tmp/out is on this machine"):
        engine.check_reach(options, "/tmp/out", [])
    with pytest.raises(UserError, match="/tmp/out is on this machine"):
        engine.check_reach(engine.parse_options(["--runner=dataflow"]), "/tmp/out", [])
    engine.check_reach(options, "gs://bucket/out", [dataclasses.replace(tracks[0], uri="gs://bucket/a.wav")])
    engine.check_reach(engine.parse_options(["--runner=FlinkRunner"]), "/shared/out", tracks)


@pytest.fixture
def runner(monkeypatch):
    """An engine that does nothing, with the outcome that a test sets."""

    class Engine(PipelineRunner):
        outcome = PipelineState.DONE
        error = None
        waited = False

        def run_pipeline(self, pipeline, options):
            # What cannot be described cannot be handed over.
            pipeline.to_runner_api()
            if self.error:
                raise self.error
            return self

        def wait_until_finish(self):
            self.waited = True

        @property
        def state(self):
            return self.outcome

    made = Engine()
    monkeypatch.setattr(engine, "make_pipeline", lambda options: beam.Pipeline(runner=made))
    return made


ENGINE = ["--runner=FlinkRunner"]


def test_workers_are_given_the_whole_path(runner, clips, job_config, tmp_path, monkeypatch):
    outputs, build = [], pipeline.build
    monkeypatch.setattr(
        pipeline, "build", lambda job, config, *others: outputs.append(config.output) or build(job, config, *others)
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^out: the job ended without manifest.json"):
        job.run(job_config(clips, "out"), beam_args=ENGINE)
    assert runner.waited
    assert outputs == [f"{tmp_path}/out"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("Job failed\nTraceback ...\n  no slots\n"), "--runner=FlinkRunner: the job failed: no slots$"),
        (grpc.FutureTimeoutError(), "the job failed: no job server answers at --job_endpoint"),
        (
            FileNotFoundError(2, "No such file", "java"),
            r"FlinkRunner: the job failed: \[Errno 2\] No such file: 'java'$",
        ),
        (
            RuntimeError(
                f"Traceback\n{OutputError.of('/a/out', OSError(28, 'No space left'))} [while running 'X']\n at"
            ),
            "^/a/out: No space left; correct this",
        ),
        (
            RuntimeError("Traceback\nOSError: [Errno 28] No space left [while running 'WriteShard']"),
            "the job failed: OSError: .Errno 28. No space left ",
        ),
        (RuntimeError(), "--runner=FlinkRunner: the job failed: RuntimeError$"),
    ],
)
def test_an_engines_failure_is_one_line(runner, clips, job_config, tmp_path, error, message):
    runner.error = error
    with pytest.raises(UserError, match=message):
        job.run(job_config(clips, tmp_path / "out"), beam_args=ENGINE)


def test_interrupting_the_launcher_does_not_end_the_engine(
    runner, clips, job_config, tmp_path, capfd, monkeypatch, end_by_signal
):
    monkeypatch.setattr(
        type(runner) if not isinstance(runner, type) else runner, "run_pipeline", lambda *_: end_by_signal()
    )
    with pytest.raises(SystemExit):
        job.run(job_config(clips, tmp_path / "out"), beam_args=ENGINE)
    said = capfd.readouterr().err
    assert "the engine may still run the job" in said and said.endswith("\nterminated\n")


def test_a_job_that_was_cancelled_is_no_success(runner, clips, job_config, tmp_path):
    runner.outcome = PipelineState.CANCELLED
    with pytest.raises(UserError, match="it ended as CANCELLED"):
        job.run(job_config(clips, tmp_path / "out"), beam_args=ENGINE)


def test_a_template_is_handed_over_and_not_waited_for(runner, clips, job_config, tmp_path, capsys):
    config = job_config(clips, tmp_path / "out")
    assert job.run(config, beam_args=[*ENGINE, "--template_location=gs://bucket/template"]) is None
    assert not runner.waited
    assert "the job is handed over" in capsys.readouterr().err


def test_a_dataset_that_is_there_needs_no_template(clips, job_config, tmp_path):
    config = job_config(clips, tmp_path / "out")
    job.run(config)
    with pytest.raises(UserError, match="holds this dataset already"):
        job.run(config, beam_args=[*ENGINE, "--template_location=gs://bucket/template"])


def many_rejects(bundle):
    for index in range(20_000):
        yield Rejected(f"{bundle}/{index}", "uri", "empty", "no samples")


def test_local_workers_lose_no_element_to_beams_timed_flush(monkeypatch, tmp_path):
    # As often as in many hours of its one second.
    monkeypatch.setattr(worker_handlers, "DATA_BUFFER_TIME_LIMIT_MS", 1)

    def write_count(count):
        (tmp_path / "count").write_text(str(count))

    def build(pipeline):
        found = pipeline | beam.Create(range(4)) | beam.Reshuffle() | beam.FlatMap(many_rejects)
        # Grouped: what goes from one stage to the next within a worker is not encoded.
        grouped = found | beam.GroupBy(lambda reject: reject.track_id) | beam.combiners.Count.Globally()
        return grouped | beam.Map(write_count)

    engine.run_pipeline(engine.parse_options([]), build, explain=lambda error: None)
    assert (tmp_path / "count").read_text() == "80000"
    assert worker_handlers.DATA_BUFFER_TIME_LIMIT_MS == 1


def test_blas_has_its_threads_back_after_a_job(clips, job_config, tmp_path):
    def threads():
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    job.run(job_config(clips, tmp_path / "out"))
    assert threads() == before


@pytest.fixture
def log_levels():
    """Reads the levels of loggers."""

    def read():
        names = ("apache_beam", "apache_beam.runners.dataflow")
        return logging.root.manager.disable, [logging.getLogger(name).level for name in names]

    return read


@pytest.mark.parametrize("beam_args", [[], ENGINE])
def test_loggers_are_as_they_were_after_a_job(runner, log_levels, beam_args):
    before = log_levels()
    engine.run_pipeline(engine.parse_options(beam_args), lambda job: job | beam.Create([1]), explain=lambda error: None)
    runner.error = RuntimeError("failed")
    with pytest.raises((UserError, RuntimeError), match="failed"):
        engine.run_pipeline(
            engine.parse_options(beam_args), lambda job: job | beam.Create([1]), explain=lambda error: None
        )
    assert log_levels() == before


def test_who_has_silenced_logging_finds_it_silent(log_levels):
    logging.disable(logging.ERROR)
    try:
        engine.parse_options([])
        assert log_levels()[0] == logging.ERROR
    finally:
        logging.disable(logging.NOTSET)


def test_a_bug_of_a_worker_that_is_an_os_error_stays_a_traceback(tmp_path):
    def build(pipeline):
        return pipeline | beam.Create([1]) | "WriteShard" >> beam.Map(lambda _: (tmp_path / "x").stat())

    def explain(text):
        assert storage.message_in(text) is None

    with pytest.raises(RuntimeError, match="Traceback"):
        engine.run_pipeline(engine.parse_options([]), build, explain=explain)


def test_a_plan_that_a_worker_may_not_read_is_one_line(tmp_path, clips, job_config, monkeypatch, capfd):
    def refuse(uri):
        raise PermissionError(errno.EACCES, "Permission denied", uri)

    monkeypatch.setattr(storage, "read_lines", refuse)
    with pytest.raises(UserError, match=r"plan\.jsonl cannot be read: Permission denied; correct this"):
        job.run(job_config(clips, tmp_path / "out"))
    assert "Traceback" not in capfd.readouterr().err


def test_too_many_rejects_print_no_traceback(tmp_path, make_clips, job_config, capfd):
    for path in make_clips(tmp_path / "music")[::2]:
        path.write_text("text")
    with pytest.raises(UserError, match="6 of 12 tracks cannot be used"):
        job.run(job_config(tmp_path / "music", tmp_path / "out"))
    assert "Traceback" not in capfd.readouterr().err


def test_an_earlier_runs_rejects_are_not_blamed_for_another_failure(
    tmp_path, make_clips, job_config, monkeypatch, capfd
):
    paths = make_clips(tmp_path / "music")
    good = [path.read_bytes() for path in paths]
    for path in paths[::2]:
        path.write_text("text")
    config = job_config(tmp_path / "music", tmp_path / "out")
    with pytest.raises(UserError, match="cannot be used"):
        job.run(config)
    assert "rejected by label: " in capfd.readouterr().err
    for path, data in zip(paths, good, strict=True):
        path.write_bytes(data)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    with pytest.raises(UserError, match="out cannot be written: No space left on device; correct this"):
        job.run(config)
    assert "rejected by label: " not in capfd.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc")
def test_children_end_with_their_children(monkeypatch):
    # As Beam starts its workers: by a shell, from a thread.
    program = (
        "import subprocess, threading\n"
        "threading.Thread(target=subprocess.run, args=(['sh', '-c', 'echo 1; sleep 600; true'],)).start()"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE) as launcher:
        launcher.stdout.readline()
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: launcher.pid)
            engine._kill_children()
        # The end of the output: no process holds the pipe any more.
        assert launcher.communicate(timeout=60) == (b"", None)
        assert launcher.returncode == 0
