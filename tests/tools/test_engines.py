import json
import subprocess

import pytest

from tools import engines, kill_and_resume


@pytest.mark.slow
def test_a_run_is_compared_with_the_local_one(tmp_path, capsys):
    source = kill_and_resume.make_source(tmp_path, clips=20, seconds=3.0)
    comparison = engines.Comparison(tmp_path, "", lambda output: kill_and_resume.job(source, output, 4))
    comparison.run("again", [])
    comparison.run("other", ["--record_dtype=float32"])
    again, other, *_ = capsys.readouterr().out.splitlines()
    assert again.startswith("again: 8 files identical")
    assert other.startswith("other: 7 problems")
    assert comparison.failed == 1


@pytest.mark.slow
def test_a_collection_is_named_again(tmp_path, capsys):
    source = kill_and_resume.make_source(tmp_path, clips=30, seconds=3.0)
    named = engines.Comparison(tmp_path, "predict_", engines.predict_job(source, tmp_path, num_shards=3))
    assert sum(name.endswith(".parquet") for name in named.expected) == 3
    named.run("again", ["--direct_num_workers=1"])
    assert capsys.readouterr().out.startswith("predict_again: 6 files identical")
    assert named.failed == 0


def test_the_worker_command_starts_a_worker_anywhere(tmp_path):
    command = json.loads(engines.worker_command(tmp_path))["command"]
    finished = subprocess.run([command, "--help"], cwd="/", capture_output=True, text=True, check=True)
    assert "--provision_endpoint" in finished.stdout
