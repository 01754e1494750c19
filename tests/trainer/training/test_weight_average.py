from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.distribution import devices
from trainer.distribution.precision import with_scaled_loss
from trainer.training.callbacks import WeightAverage, averaged, save_model
from trainer.training.input_wait import InputWait
from trainer.training.training_state import build, values_of

MOMENTUM = 0.75
PATCHES = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
LABELS = np.arange(12, dtype=np.int32) % 3


def new_model(numbers="float32", *, momentum=MOMENTUM):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.BatchNormalization(), keras.layers.Dense(3, "softmax", name="dense")]
    )
    averages = {"use_ema": True, "ema_momentum": momentum} if momentum else {}
    optimizer = with_scaled_loss(keras.optimizers.Adam(0.1, **averages), numbers)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    build(model)
    return model


def weights(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]


class Weights(keras.callbacks.Callback):
    """The weights after each step, and those that are validated."""

    def __init__(self):
        super().__init__()
        self.steps, self.validated = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(weights(self.model))

    def on_test_batch_end(self, batch, logs=None):
        self.validated.append(weights(self.model))


def train(model, *callbacks, epochs=(0, 2)):
    batches = tf.data.Dataset.from_tensor_slices((PATCHES, LABELS)).batch(4)
    fit = partial(devices.fit, model, InputWait(), batches.repeat(), steps_per_epoch=3)
    fit(initial_epoch=epochs[0], epochs=epochs[1], validation_data=batches.take(1), callbacks=callbacks)


def average_of(steps):
    mean = steps[0]
    for own in steps[1:]:
        mean = [MOMENTUM * before + (1 - MOMENTUM) * now for before, now in zip(mean, own, strict=True)]
    return mean


def assert_equal(found, expected, atol=0.0):
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=0, atol=atol)


@pytest.mark.parametrize("numbers", ["float32", "float16"])
def test_the_average_is_validated_and_kept_and_the_weights_are_trained(tmp_path, numbers):
    model, plain, seen, plainly = new_model(numbers), new_model(numbers, momentum=0), Weights(), Weights()
    train(model, WeightAverage(), seen)
    train(plain, plainly)
    for own, other in zip(seen.steps, plainly.steps, strict=True):
        assert_equal(own, other)
    assert_equal(weights(model), seen.steps[-1])
    assert_equal(seen.validated[0], average_of(seen.steps[:3]), atol=1e-6)
    assert_equal(seen.validated[1], average_of(seen.steps), atol=1e-6)
    assert np.abs(seen.validated[1][-1] - seen.steps[-1][-1]).max() > 1e-3
    save_model(model, tmp_path / "best.keras")
    assert_equal(weights(model), seen.steps[-1])
    kept = keras.models.load_model(tmp_path / "best.keras")
    assert_equal(weights(kept), seen.validated[1])
    # What normalises has no weights to average.
    for own, other in zip(kept.non_trainable_variables, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(own, other)


def test_several_fits_are_one():
    whole, parts = new_model(), new_model()
    average = WeightAverage()
    train(whole, WeightAverage())
    train(parts, average, epochs=(0, 1))
    train(parts, average, epochs=(1, 2))
    expected = values_of(whole)
    for name, value in values_of(parts).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_before_the_first_step_and_without_averages_the_weights_are_their_own():
    for model in (new_model(), new_model(momentum=0), keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])):
        own = weights(model)
        with averaged(model):
            assert_equal(weights(model), own)
        assert_equal(weights(model), own)
