import keras
import numpy as np
import pytest

from tfrecords.command_line import UserError
from trainer.training.resume import follow
from trainer.training.training_state import STATE_FILE, TrainingState, build, values_of


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
    assert follow(job, tmp_path, other).step == 2
    for name, value in values_of(chief).items():
        np.testing.assert_array_equal(values_of(other)[name], value)


def test_a_training_whose_parents_come_first_has_nothing_to_begin_with(tiny, job_of, tmp_path):
    job, model = job_of(tiny.path), new_model(0)
    TrainingState().save(tmp_path / STATE_FILE)
    job.save(tmp_path)
    assert not follow(job, tmp_path, model).variables


def test_another_directory_or_another_job_is_one_line(tiny, job_of, tmp_path):
    model = new_model(0)
    with pytest.raises(
        UserError, match=f"--job_dir={tmp_path} does not show this host what the chief has written; all"
    ):
        follow(job_of(tiny.path), tmp_path, model)
    TrainingState().save(tmp_path / STATE_FILE)
    job_of(tiny.path, "--precision=bfloat16").save(tmp_path)
    with pytest.raises(UserError, match=r"the chief trains another job: precision bfloat16, not float32; give all"):
        follow(job_of(tiny.path), tmp_path, model)
