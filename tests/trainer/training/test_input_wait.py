import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.training.input_wait import InputWait

BATCH = (np.ones((4, 3), np.float32), np.zeros(4, np.int32))


class Slow(keras.layers.Layer):
    """A step that takes so many seconds, whatever the machine."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def call(self, inputs):
        outputs = tf.numpy_function(lambda values: (time.sleep(self.seconds), values)[1], [inputs], tf.float32)
        return tf.ensure_shape(outputs, inputs.shape)


def waited(*, batch_s, step_s, steps=10):
    """Seconds of waiting for each step of a `fit` whose batches and steps take so long."""

    def batches():
        for _ in range(steps):
            time.sleep(batch_s)
            yield BATCH

    spec = tuple(tf.TensorSpec([4, *part.shape[1:]], part.dtype) for part in BATCH)
    made = tf.data.Dataset.from_generator(batches, output_signature=spec).prefetch(2)
    model = keras.Sequential([keras.Input((3,), batch_size=4), Slow(step_s), keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    wait = InputWait()
    model.fit(wait.timed(made), steps_per_epoch=steps, verbose=0, shuffle=False)
    return wait.seconds / steps


def test_waiting_is_what_a_step_cannot_hide():
    # Batches are made while steps compute, each of them alone: what is left to wait is the difference.
    assert waited(batch_s=0.1, step_s=0.0) > 0.07
    assert 0.02 < waited(batch_s=0.1, step_s=0.06) < 0.07
    assert waited(batch_s=0.0, step_s=0.06) < 0.02


def test_the_batches_are_the_same_and_end_where_they_did():
    batches = tf.data.Dataset.range(7).map(lambda number: (tf.fill([2], number), number))
    timed = InputWait().timed(batches)
    assert timed.element_spec == batches.element_spec
    found = [(list(values), int(number)) for values, number in timed.as_numpy_iterator()]
    assert found == [([number, number], number) for number in range(7)]


def test_a_loop_of_ones_own_is_timed_too():
    def slow():
        for number in range(2):
            time.sleep(0.05)
            yield number

    wait, batches = InputWait(), slow()
    assert [wait.next_of(batches), wait.next_of(batches)] == [0, 1]
    assert 0.1 <= wait.seconds < 0.5
    with pytest.raises(StopIteration):
        wait.next_of(batches)
