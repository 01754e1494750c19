import errno
import os

import pytest
import threadpoolctl
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_preprocess import engine, job
from tfrecords.command_line import UserError
from tfrecords.shard import RecordWriter


def test_every_core_is_used_by_threads_unless_told():
    direct = engine.parse_options([]).view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (os.cpu_count(), "multi_threading")
    args = ["--direct_num_workers=3", "--direct_running_mode=in_memory"]
    direct = engine.parse_options(args).view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (3, "in_memory")


def test_the_default_runner_looks_for_no_other_engine():
    made = engine.make_pipeline(engine.parse_options([]))
    assert type(made.runner) is FnApiRunner


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


@pytest.mark.parametrize("flag", ["--direct_num_workers=abc", "--direct_running_mode=foo"])
def test_a_value_that_beam_refuses_is_one_line(flag, capfd):
    with pytest.raises(UserError, match="invalid"):
        engine.parse_options([flag])
    assert capfd.readouterr().err == ""


def test_an_unknown_runner_is_one_line():
    with pytest.raises(UserError, match="--runner=Foo cannot be used"):
        engine.make_pipeline(engine.parse_options(["--runner=Foo"]))


def test_blas_has_its_threads_back_after_a_job(clips, job_config, tmp_path):
    def threads():
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    job.run(job_config(clips, tmp_path / "out"))
    assert threads() == before


def test_too_many_rejects_print_no_traceback(tmp_path, make_clips, job_config, capfd):
    for path in make_clips(tmp_path / "music")[::2]:
        path.write_text("text")
    with pytest.raises(UserError, match="6 of 12 tracks cannot be used"):
        job.run(job_config(tmp_path / "music", tmp_path / "out"))
    assert "Traceback" not in capfd.readouterr().err


def test_an_earlier_runs_rejects_are_not_blamed_for_another_failure(tmp_path, make_clips, job_config, monkeypatch):
    paths = make_clips(tmp_path / "music")
    good = [path.read_bytes() for path in paths]
    for path in paths[::2]:
        path.write_text("text")
    config = job_config(tmp_path / "music", tmp_path / "out")
    with pytest.raises(UserError, match="cannot be used"):
        job.run(config)
    for path, data in zip(paths, good, strict=True):
        path.write_bytes(data)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    with pytest.raises(UserError, match="out: No space left on device; mend it"):
        job.run(config)
