import subprocess
import sys
from pathlib import Path

import pytest

from beam_preprocess import job
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


def test_workers_need_neither_tensorflow_nor_librosa():
    program = (
        "import sys, beam_preprocess.job\nprint({'tensorflow', 'keras', 'librosa', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
