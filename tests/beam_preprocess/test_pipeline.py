import os
import subprocess
import sys
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_preprocess import job, pipeline
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest
from tfrecords.verify import problems

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def one_worker(clips, job_config, tmp_path_factory):
    output = tmp_path_factory.mktemp("one_worker") / "out"
    job.run(job_config(clips, output), beam_args=["--direct_num_workers=1"])
    return output


@pytest.mark.parametrize(
    "beam_args",
    [["--direct_num_workers=2"], ["--direct_num_workers", "2", "--direct_running_mode=multi_processing"]],
    ids=["threads", "processes"],
)
def test_the_number_and_kind_of_workers_change_no_byte(one_worker, clips, job_config, tmp_path, contents, beam_args):
    job.run(job_config(clips, tmp_path / "out"), beam_args=beam_args)
    found = contents(tmp_path / "out")
    assert len(found) == 6
    assert found == contents(one_worker)


def test_the_dataset_is_sound(one_worker):
    manifest = Manifest.load(one_worker)
    assert list(problems(manifest, one_worker)) == []
    assert manifest.tracks(["all"]) == {"blues": 4, "jazz": 4, "rock": 4}
    assert manifest.tracks(["fold_0"]) == {"blues": 2, "jazz": 2, "rock": 2}


def test_every_core_is_used_by_threads_unless_told():
    direct = pipeline.parse_options([]).view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (os.cpu_count(), "multi_threading")
    args = ["--direct_num_workers=3", "--direct_running_mode=in_memory"]
    direct = pipeline.parse_options(args).view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (3, "in_memory")


def test_the_default_runner_looks_for_no_other_engine():
    made = pipeline.make_pipeline(pipeline.parse_options([]))
    assert type(made.runner) is FnApiRunner


def test_a_runner_of_choice_is_left_to_beam():
    options = pipeline.parse_options(["--runner=FlinkRunner", "--flink_master=localhost:8081", "--other=1"])
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
        pipeline.parse_options(beam_args)


def test_workers_need_neither_tensorflow_nor_librosa():
    program = (
        "import sys, beam_preprocess.job\nprint({'tensorflow', 'keras', 'librosa', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
