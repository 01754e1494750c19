import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

import tfrecords
from beam_preprocess import job
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import SplitConfig
from beam_preprocess.job import claim_output
from beam_preprocess.pipeline import _plan_lines, build
from beam_preprocess.plan import plan_job
from beam_preprocess.write_manifest import DatasetSpec
from tfrecords.manifest import Manifest

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
    assert len(found) == 8
    assert found == contents(one_worker)


def test_the_dataset_is_sound(one_worker):
    manifest = Manifest.load(one_worker)
    assert list(tfrecords.Dataset(one_worker, manifest).verify()) == []
    assert manifest.tracks(["all"]) == {"blues": 4, "jazz": 4, "rock": 4}
    assert manifest.tracks(["fold_0"]) == {"blues": 2, "jazz": 2, "rock": 2}


@pytest.mark.parametrize("split", [SplitConfig(folds=2), SplitConfig(train_size=0.8)], ids=["folds", "sizes"])
def test_the_pipeline_is_as_large_for_many_tracks_as_for_few(job_config, make_tracks, tmp_path, split):
    sizes = []
    for number in (10, 10_000):
        rows = [(f"music/{index}.wav", ("jazz", "rock")[index % 2]) for index in range(number)]
        config = job_config("/in", tmp_path / f"{number:05d}", split=split, num_shards=None)
        plan = plan_job(config, make_tracks(rows))
        claim_output(config.output, plan, overwrite=False)
        built = beam.Pipeline(FnApiRunner())
        build(built, config, DatasetSpec.from_plan(config, plan), FrontEnd(config.front_end))
        sizes.append(built.to_runner_api().ByteSize())
        assert Path(config.output, ".partial", "plan.jsonl").stat().st_size > 50 * number
    # What the workers are given is packed, so another fingerprint may take some bytes more or less.
    assert abs(sizes[1] - sizes[0]) < 500


def test_workers_need_neither_tensorflow_nor_librosa():
    program = (
        "import sys, beam_preprocess.job\nprint({'tensorflow', 'keras', 'librosa', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_where_there_is_no_plan_nothing_is_planned(tmp_path, memory):
    # As on a worker that cannot reach the output, or does all again after it was done.
    for uri in (f"{tmp_path}/plan.jsonl", "memory://bucket/plan.jsonl"):
        assert list(_plan_lines(b"", uri)) == []
