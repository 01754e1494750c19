import json
import shutil
import subprocess
from pathlib import Path

import pytest

from trainer.training import run_record
from trainer.training.training_state import TrainingState
from trainer.training_job import RUN_FILE


def test_every_start_is_told_of(tiny, job_of, tmp_path):
    job = job_of(tiny.path)
    run_record.add(tmp_path, job, TrainingState(), command="python -m one")
    run_record.add(tmp_path, job, TrainingState([{"val_loss": 1.0}], 3), command="python -m two")
    first, second = json.loads((tmp_path / RUN_FILE).read_text("utf-8"))["starts"]
    assert (first["command"], first["finished_epochs"], first["step"]) == ("python -m one", 0, 0)
    assert (second["command"], second["finished_epochs"], second["step"]) == ("python -m two", 1, 3)
    assert first["dataset"] == {"data_dir": str(tiny.path), "fingerprint": tiny.manifest.fingerprint}
    assert {"tensorflow", "keras", "numpy"} <= set(first["versions"])
    assert any(name.startswith("CPU: ") for name in first["devices"])
    assert first["started"].endswith("+00:00") and first["host"] and first["platform"] and first["python"]
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"starts": 3}', "\0"])
def test_a_record_that_is_damaged_keeps_no_training_from_starting(tiny, job_of, tmp_path, content):
    (tmp_path / RUN_FILE).write_text(content)
    run_record.add(tmp_path, job_of(tiny.path), TrainingState(), command="python -m one")
    assert len(run_record.read(tmp_path)) == 1


def git(directory, *arguments):
    own = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", directory, *own, *arguments], check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_code_in_a_checkout_has_a_revision(tmp_path):
    code, other = tmp_path / "code", tmp_path / "venv"
    for path in (code, other):
        path.mkdir()
        (path / "module.py").write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "code")
    git(tmp_path, "commit", "-qm", "first")
    found = run_record.code_version(code)
    assert len(found["git_revision"]) == 40 and found["modified"] is False
    # What is not under version control is no change, and has no revision.
    assert "git_revision" not in run_record.code_version(other)
    (code / "module.py").write_text("2\n")
    assert run_record.code_version(code) == found | {"modified": True}


def test_code_without_git_has_its_version(tmp_path, monkeypatch):
    monkeypatch.setattr(run_record.shutil, "which", lambda name: None)
    assert set(run_record.code_version(Path(run_record.__file__).parent)) == {"version"}
