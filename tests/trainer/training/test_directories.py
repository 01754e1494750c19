import json

import pytest

from tfrecords import object_store, storage
from tfrecords.common.command_line import UserError
from trainer import train
from trainer.training.directories import Directories

BASE = "memory://bucket/jobs/one"


@pytest.fixture
def vertex(monkeypatch):
    """As Vertex AI sets it for a job with a baseOutputDirectory."""
    object_store.forget_memory()
    for name, folder in (("MODEL_DIR", "model"), ("CHECKPOINT_DIR", "checkpoints"), ("TENSORBOARD_LOG_DIR", "logs")):
        monkeypatch.setenv(f"AIP_{name}", f"{BASE}/{folder}/")


def below(folder):
    return {location.removeprefix(f"{BASE}/{folder}/") for location, _ in storage.walk(f"{BASE}/{folder}")}


def test_a_training_writes_where_vertex_ai_says(vertex, tiny, train_flags, capsys):
    arguments = [f"--data_dir={tiny.path}", "--model=time", "--model_options=filters=2", "--epochs=1", "--batch_size=8"]
    for end in ("exported: ", "exported: "):
        assert train.main(train_flags(*arguments), []) == 0
        assert end in capsys.readouterr().out
    assert {"best.keras", "config.json", "history.csv", "run.json"} <= below("checkpoints")
    assert {"saved_model.pb", "export.json", "model.keras"} <= below("model")
    assert any(name.startswith("train/events.") for name in below("logs"))
    assert json.loads(storage.read_text(f"{BASE}/model/export.json"))["labels"] == list(tiny.manifest.labels)


def test_flags_come_first(vertex, train_flags):
    assert Directories.of(train_flags("--job_dir=J", "--export_dir=E", "--logs_dir=L")) == Directories("J", "E", "L")
    assert Directories.of(train_flags("--job_dir=J")).export_dir == f"{BASE}/model/"


def test_without_vertex_ai_only_the_job_is_written(train_flags, monkeypatch):
    for name in ("AIP_MODEL_DIR", "AIP_CHECKPOINT_DIR", "AIP_TENSORBOARD_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert Directories.of(train_flags("--job_dir=J")) == Directories("J", "", "")
    with pytest.raises(UserError, match="--job_dir=JOB are needed"):
        train.main(train_flags("--data_dir=DATA"), [])


def test_what_cannot_be_exported_is_found_before_training(tiny, train_flags, monkeypatch, tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "notes.txt").touch()
    arguments = [f"--data_dir={tiny.path}", f"--job_dir={tmp_path}/job"]
    with pytest.raises(UserError, match="exists and is no exported model"):
        train.main(train_flags(*arguments, f"--export_dir={tmp_path}/export"), [])
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(UserError, match="`export_dir` needs TensorFlow"):
        train.main(train_flags(*arguments, f"--export_dir={tmp_path}/other"), [])
    assert not (tmp_path / "job").exists()
