import copy
import importlib

import keras
import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer.training.resume import sync_with_chief, tell_unfinished
from trainer.training.training_state import STATE_FILE, TrainingState, build, values_of
from trainer.training_job import CHECKPOINT_FILE, write_history


def new_model(seed):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    build(model)
    return model


def test_another_host_begins_with_what_the_chief_has_left(tiny, job_of, tmp_path):
    job, chief, other = job_of(tiny.path), new_model(0), new_model(1)
    TrainingState(step=2, variables=values_of(chief)).save(tmp_path / STATE_FILE)
    job.save(tmp_path)
    assert sync_with_chief(job, tmp_path, other).step == 2
    for name, value in values_of(chief).items():
        np.testing.assert_array_equal(values_of(other)[name], value)


def test_a_training_whose_parents_come_first_has_nothing_to_begin_with(tiny, job_of, tmp_path):
    job, model = job_of(tiny.path), new_model(0)
    TrainingState().save(tmp_path / STATE_FILE)
    job.save(tmp_path)
    assert not sync_with_chief(job, tmp_path, model).variables


def test_another_directory_or_another_job_is_one_line(tiny, job_of, tmp_path):
    model = new_model(0)
    with pytest.raises(
        UserError, match=f"`job_dir={tmp_path}` does not show this host what the chief has written; all"
    ):
        sync_with_chief(job_of(tiny.path), tmp_path, model)
    TrainingState().save(tmp_path / STATE_FILE)
    job_of(tiny.path, "--precision=bfloat16").save(tmp_path)
    with pytest.raises(UserError, match=r"the chief trains another job: precision bfloat16, not float32; give all"):
        sync_with_chief(job_of(tiny.path), tmp_path, model)


def test_a_model_of_an_unfinished_training_is_told_as_that(tiny, job_of, tmp_path, capsys):
    job = job_of(tiny.path)
    tell_unfinished(job, tmp_path)
    (tmp_path / CHECKPOINT_FILE).touch()
    tell_unfinished(job, tmp_path)
    assert capsys.readouterr().err == ""
    (tmp_path / STATE_FILE).touch()
    write_history(tmp_path, [{"loss": 1.0, "val_loss": loss} for loss in (3.0, 1.0, 2.0)])
    tell_unfinished(job, tmp_path)
    told = "training is not finished; this is the model of the best epoch 2 of 3 so far, of 2 at most"
    assert capsys.readouterr().err == f"warning: {tmp_path}: {told}\n"


@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "listen"])
def test_who_uses_such_a_model_tells_it(tiny, job_of, tmp_path, capsys, monkeypatch, command):
    module = importlib.import_module(f"trainer.{command}")
    job_of(tiny.path).save(tmp_path)
    (tmp_path / CHECKPOINT_FILE).write_text("no model")
    (tmp_path / STATE_FILE).touch()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    values, words = copy.deepcopy(module.FLAGS), {"predict": ["song.mp3"]}.get(command, [])
    more = {"export": [f"--export_dir={tmp_path / 'new'}"], "listen": ["--port=0"]}.get(command, [])
    for name in values:
        # Other tests may have set it.
        values[name].unparse()
    values([command, f"--job_dir={tmp_path}", *more])
    with pytest.raises(UserError, match=f"{CHECKPOINT_FILE}: cannot be loaded"):
        module.main(values, words)
    assert capsys.readouterr().err.count("training is not finished") == 1
