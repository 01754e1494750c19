import os
import subprocess
import sys

import pytest

from tfrecords.common.command_line import UserError
from trainer import export


def flags_of(*arguments):
    values = export.FLAGS
    for name in values:
        values[name].unparse()
    values(["export", *map(str, arguments)])
    return values


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")


def test_mistakes_are_found_before_anything_is_imported(tmp_path, trained, backend):
    with pytest.raises(UserError, match="--job_dir=JOB and --export_dir=DIR are needed"):
        export.main(flags_of(f"--job_dir={trained}"), [])
    with pytest.raises(UserError, match="unexpected argument"):
        export.main(flags_of(f"--job_dir={trained}", f"--export_dir={tmp_path}"), ["x"])
    with pytest.raises(UserError, match=r"no config\.json, so no trained model"):
        export.main(flags_of(f"--job_dir={tmp_path}", f"--export_dir={tmp_path / 'new'}"), [])
    assert not (tmp_path / "new").exists()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "export.json").write_text("{}")
    with pytest.raises(UserError, match="holds an exported model; --overwrite replaces it"):
        export.main(flags_of(f"--job_dir={trained}", f"--export_dir={tmp_path / 'model'}"), [])


def test_an_export_is_replaced_when_that_is_asked_for(tmp_path, trained, backend, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "export.json").write_text("{}")
    export.main(flags_of(f"--job_dir={trained}", f"--export_dir={tmp_path / 'model'}", "--overwrite"), [])
    assert {"saved_model.pb", "variables", "model.keras", "export.json"} <= {
        path.name for path in (tmp_path / "model").iterdir()
    }
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert str(tmp_path / "model") in capsys.readouterr().out


@pytest.mark.slow
def test_the_backend_of_the_environment_does_not_matter(tmp_path, trained):
    command = [sys.executable, "-m", "trainer.export", f"--job_dir={trained}", f"--export_dir={tmp_path / 'model'}"]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "model" / "saved_model.pb").is_file()


@pytest.mark.parametrize(("name", "warned"), [("model", False), ("model [1]", True), ("at [1]/model", True)])
def test_where_tensorflow_cannot_load_it_is_said(trained, tmp_path, monkeypatch, backend, capsys, name, warned):
    monkeypatch.setattr(export, "export", lambda job_dir, export_dir: None)
    export.main(flags_of(f"--job_dir={trained}", f"--export_dir={tmp_path / name}"), [])
    assert ("warning: TensorFlow cannot load a model" in capsys.readouterr().out) == warned
