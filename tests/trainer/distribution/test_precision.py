import keras
import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer import models, train
from trainer.distribution import precision
from trainer.training.training_state import STATE_FILE, TrainingState
from trainer.training_job import TrainingJob, read_history


@pytest.mark.parametrize("name", models.FROM_SCRATCH)
@pytest.mark.parametrize("numbers", ["bfloat16", "float16"])
def test_layers_compute_in_it_but_weights_and_probabilities_are_float32(name, numbers):
    with precision.computing_in(numbers):
        model = models.create(name, num_classes=3, input_shape=(80, 40, 1), filters=2)
    assert keras.config.dtype_policy().name == "float32"
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions} == {numbers}
    assert {weight.dtype for weight in model.weights} <= {"float32", "int64"}
    assert model.outputs[0].dtype == "float32"
    assert model.layers[-1].compute_dtype == "float32"


def test_the_policy_is_as_before_when_a_model_cannot_be_made():
    with pytest.raises(ZeroDivisionError), precision.computing_in("float16"):
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == "float32"


def test_a_job_knows_its_precision_and_another_one_is_another_job(tiny, job_of, tmp_path):
    job = job_of(tiny.path, "--precision=bfloat16")
    job.save(tmp_path)
    held = TrainingJob.load(tmp_path)
    assert held.precision == "bfloat16"
    assert held.differences(job_of(tiny.path)) == ["precision bfloat16, not float32"]
    with pytest.raises(UserError, match="`precision` must be one of float32, bfloat16, float16, got 'half'"):
        job_of(tiny.path, "--precision=half")


@pytest.mark.parametrize("numbers", ["float16", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_a_training_in_it_goes_on_as_if_it_had_not_stopped(tiny, job_of, states_kept, tmp_path, numbers):
    job = job_of(tiny.path, f"--precision={numbers}", "--model_options=filters=4")
    whole, killed = tmp_path / "whole", tmp_path / "killed" / "3"
    whole.mkdir()
    with states_kept(whole, killed.parent):
        train.train(job, whole, options=train.RunOptions(save_every_s=0))
    state = TrainingState.load(killed / STATE_FILE)
    assert (state.epoch, state.step) == (0, 2)
    # The scale of the loss is saved with the optimiser.
    assert any(value == 2**15 for value in state.variables.values() if not value.shape) is (numbers == "float16")
    train.train(job, killed, start=state)
    histories = [list(read_history(path).values()) for path in (killed, whole)]
    np.testing.assert_allclose(*histories, atol=1e-5)
