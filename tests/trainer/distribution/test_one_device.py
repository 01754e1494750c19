import keras
import numpy as np
import tensorflow as tf

from trainer.distribution import devices
from trainer.training.callbacks import SaveProgress
from trainer.training.input_wait import InputWait
from trainer.training.training_state import STATE_FILE, TrainingState, build, values_of

RNG = np.random.default_rng(0)
STEPS = 3


def batches():
    patches, labels = RNG.normal(size=(4 * STEPS, 5)).astype(np.float32), RNG.integers(0, 3, 4 * STEPS)
    return tf.data.Dataset.from_tensor_slices((patches, labels)).batch(4)


class StopInValidation(keras.callbacks.Callback):
    def __init__(self, progress):
        super().__init__()
        self.progress = progress

    def on_test_batch_end(self, batch, logs=None):
        self.progress.save_now()
        raise KeyboardInterrupt


def new_model():
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dropout(0.5), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    build(model)
    return model


def test_an_epoch_that_was_stopped_in_its_validation_ends_as_an_unbroken_one(tmp_path):
    train, valid = batches(), batches()
    arguments = {"validation_data": valid, "shuffle": False, "verbose": 0}
    whole = new_model()
    expected = whole.fit(train, epochs=1, **arguments).history
    stopped = new_model()
    progress = SaveProgress(tmp_path, TrainingState(), steps=STEPS, save_every_s=1e9)
    try:
        stopped.fit(train, epochs=1, callbacks=[progress, StopInValidation(progress)], **arguments)
        raise AssertionError("it was not stopped")
    except KeyboardInterrupt:
        state = TrainingState.load(tmp_path / STATE_FILE)
    assert (state.epoch, state.step) == (0, STEPS)
    model = new_model()
    state.restore(model, tmp_path / STATE_FILE)
    progress = SaveProgress(tmp_path, state, steps=STEPS, save_every_s=1e9)
    left = {"initial_epoch": 0, "epochs": 1, "steps_per_epoch": 0}
    devices.fit(model, InputWait(), train, **left, validation_data=valid, callbacks=[progress])
    assert progress.history == [{name: values[0] for name, values in expected.items()}]
    for name, value in values_of(whole).items():
        if not name.startswith("metrics"):
            np.testing.assert_array_equal(values_of(model)[name], value, err_msg=name)
