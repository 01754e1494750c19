"""The whole path through the real command lines, as README gives them."""

import json
import os
import subprocess
import sys

import pytest

ENVIRONMENT = os.environ | {"PYTHONWARNINGS": "error::SyntaxWarning"}


def run(*command, status=0):
    done = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A directory with audio, a dataset, a trained job and its evaluation; made once, by the commands."""
    path = tmp_path_factory.mktemp("work")
    run("beam_preprocess.synthesize", f"--output={path}/audio", "--tracks_per_genre=5", "--seconds=6")
    (path / "audio" / "blues" / "notes.wav").write_text("this is no audio")
    run("beam_preprocess", f"--input={path}/audio", f"--output={path}/data", "--folds=5", "--name=small")
    run("trainer.train", f"--data_dir={path}/data", f"--job_dir={path}/job", "--model=time", "--epochs=2")
    path.joinpath("printed.txt").write_text(run("trainer.evaluate", f"--job_dir={path}/job").stdout)
    return path


def test_dataset_holds_every_track_and_names_the_reject(work):
    manifest = json.loads((work / "data" / "manifest.json").read_text())
    assert sum(sum(part["tracks"].values()) for part in manifest["parts"].values()) == 50
    assert manifest["rejects"] == {"undecodable": 1}
    (reject,) = map(json.loads, (work / "data" / "rejects.jsonl").read_text().splitlines())
    assert reject["track_id"] == "blues/notes.wav"
    assert reject["reason"] == "undecodable"
    assert not (work / "data" / ".partial").exists()


def test_looking_at_the_dataset(work):
    assert "50 records in 5 shards" in run("tfrecords", "verify", work / "data").stdout
    assert "fold_4" in run("tfrecords", "info", work / "data").stdout
    run("tfrecords", "show", work / "data", f"--png={work}/grid.png")
    assert (work / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_job_directory_and_report(work):
    files = {entry.name for entry in (work / "job").iterdir()}
    assert {"config.json", "best.keras", "history.csv", "logs", "metrics.json", "report.html"} <= files
    metrics = json.loads((work / "job" / "metrics.json").read_text())
    assert metrics["tracks"] == 10
    assert metrics["parts"] == ["fold_4"]
    assert not metrics["seen_in_training"]
    printed = (work / "printed.txt").read_text()
    assert all(genre in printed for genre in metrics["label_names"])
    assert str(work / "job" / "report.html") in printed


def test_damaged_dataset_is_refused_in_one_line(work, tmp_path):
    damaged = tmp_path / "data"
    subprocess.run(["cp", "-r", work / "data", damaged], check=True)
    shard = next(damaged.glob("*fold_0*"))
    shard.write_bytes(shard.read_bytes()[:-100])
    done = run("trainer.train", f"--data_dir={damaged}", f"--job_dir={tmp_path}/job", status=2)
    assert done.stderr.count("\n") == 1
    assert str(shard) in done.stderr
    assert not (tmp_path / "job" / "config.json").exists()
    verified = run("tfrecords", "verify", damaged, status=1)
    assert f"{shard}: " in verified.stdout
