import copy
import json
import os
import subprocess
import sys

import pytest

from tfrecords.common.command_line import UserError
from trainer import export


def run(*arguments):
    values = copy.deepcopy(export.FLAGS)
    export.main(values, values(["export", *map(str, arguments)])[1:])


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")


def test_mistakes_are_found_before_anything_is_written(tmp_path, trained, backend):
    with pytest.raises(UserError, match="--job_dir=JOB and --export_dir=DIR are needed"):
        run(f"--job_dir={trained}")
    with pytest.raises(UserError, match="unexpected argument"):
        run(f"--job_dir={trained}", f"--export_dir={tmp_path}", "x")
    with pytest.raises(UserError, match=r"no config\.json, so no trained model"):
        run(f"--job_dir={tmp_path}", f"--export_dir={tmp_path / 'new'}")
    assert not (tmp_path / "new").exists()


def test_only_an_exported_model_is_replaced(tmp_path, trained, backend, monkeypatch):
    exports = []
    monkeypatch.setattr(export, "export", lambda job_dir, export_dir, job: exports.append(export_dir))
    model = tmp_path / "model"
    flags = [f"--job_dir={trained}", f"--export_dir={model}"]
    run(*flags)
    model.mkdir()
    run(*flags)
    (model / "holiday.jpg").write_text("")
    for path in (model, model / "holiday.jpg"):
        with pytest.raises(UserError, match="no exported model; choose another"):
            run(f"--job_dir={trained}", f"--export_dir={path}", "--overwrite")
    (model / "export.json").write_text("{}")
    with pytest.raises(UserError, match="`overwrite` replaces it"):
        run(*flags)
    run(*flags, "--overwrite")
    assert exports == [model] * 3


def test_an_export_is_whole(exported):
    assert json.loads((exported / "export.json").read_text())["labels"] == ["blues", "jazz", "rock"]
    assert {"saved_model.pb", "variables", "model.keras", "export.json"} <= {path.name for path in exported.iterdir()}
    assert list(exported.parent.iterdir()) == [exported]


@pytest.mark.slow
def test_the_backend_of_the_environment_does_not_matter(tmp_path, trained):
    command = [sys.executable, "-m", "trainer.export", f"--job_dir={trained}", f"--export_dir={tmp_path / 'model'}"]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "model" / "saved_model.pb").is_file()


@pytest.mark.parametrize(("name", "warned"), [("model", False), ("model [1]", True), ("at [1]/model", True)])
def test_a_path_that_tensorflow_cannot_load_is_warned_of(trained, tmp_path, monkeypatch, backend, capsys, name, warned):
    monkeypatch.setattr(export, "export", lambda job_dir, export_dir, job: None)
    run(f"--job_dir={trained}", f"--export_dir={tmp_path / name}")
    printed = capsys.readouterr().out
    assert f"exported: {tmp_path / name} " in printed
    assert ("warning: TensorFlow cannot load a model" in printed) == warned
