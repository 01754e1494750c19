import threading
import time
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.training import input_wait
from trainer.training.input_wait import InputWait

LIMIT_S = 120
BATCH = (np.ones((4, 3), np.float32), np.zeros(4, np.int32))


class Clock:
    """Time that goes by only where a training computes or makes batches, however long they really take.

    The next batch is made while a step computes, and by nobody else; what it takes beyond the step is still to come
    once the step has ended and the batch is asked for.
    """

    def __init__(self, *, batch_s, step_s):
        self._batch_s, self._step_s = batch_s, step_s
        self._seconds, self._looks, self._steps = 0.0, 0, 0
        self._changed = threading.Condition()

    def look(self):
        with self._changed:
            self._looks += 1
            self._changed.notify_all()
            return self._seconds

    def step(self, values):
        with self._changed:
            self._seconds += self._step_s
            self._steps += 1
            self._changed.notify_all()
        return values

    def batches(self, count):
        for number in range(count):
            left = self._batch_s - (self._step_s if number else 0)
            if left > 0:
                with self._changed:
                    # Each is looked for twice: when it is asked for, and when it is there.
                    asked = self._changed.wait_for(lambda n=number: self._looks > 2 * n and self._steps >= n, LIMIT_S)
                    assert asked
                    self._seconds += left
            yield BATCH


class Step(keras.layers.Layer):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def call(self, inputs):
        return tf.ensure_shape(tf.numpy_function(self.clock.step, [inputs], tf.float32), inputs.shape)


def waited(monkeypatch, *, batch_s, step_s, steps=10):
    """Seconds of waiting in a `fit` whose batches and steps take so long."""
    clock = Clock(batch_s=batch_s, step_s=step_s)
    look = partial(tf.numpy_function, clock.look, [], tf.float64, stateful=True)
    monkeypatch.setattr(tf, "timestamp", lambda: tf.ensure_shape(look(), []))
    spec = tuple(tf.TensorSpec([4, *part.shape[1:]], part.dtype) for part in BATCH)
    made = tf.data.Dataset.from_generator(lambda: clock.batches(steps), output_signature=spec).prefetch(2)
    model = keras.Sequential([keras.Input((3,), batch_size=4), Step(clock), keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    wait = InputWait()
    model.fit(wait.timed(made), steps_per_epoch=steps, verbose=0, shuffle=False)
    return wait.seconds


def test_waiting_is_what_a_step_cannot_hide(monkeypatch):
    # Of the first batch nothing is hidden.
    assert waited(monkeypatch, batch_s=8, step_s=0) == 10 * 8
    assert waited(monkeypatch, batch_s=8, step_s=5) == 8 + 9 * (8 - 5)
    assert waited(monkeypatch, batch_s=0, step_s=5) == 0


def test_waiting_is_told_in_seconds():
    def slow():
        for number in range(3):
            time.sleep(0.05)
            yield number

    wait = InputWait()
    batches = tf.data.Dataset.from_generator(slow, output_signature=tf.TensorSpec([], tf.int32))
    began = time.time()
    assert list(wait.timed(batches).as_numpy_iterator()) == [0, 1, 2]
    # Looks at a clock of a thousandth of a second at worst.
    assert 3 * 0.05 - 0.01 < wait.seconds < time.time() - began + 0.01


def test_the_batches_are_the_same_and_end_where_they_did():
    batches = tf.data.Dataset.range(7).map(lambda number: (tf.fill([2], number), number))
    timed = InputWait().timed(batches)
    assert timed.element_spec == batches.element_spec
    found = [(list(values), int(number)) for values, number in timed.as_numpy_iterator()]
    assert found == [([number, number], number) for number in range(7)]


def test_a_loop_of_ones_own_is_timed_too(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(input_wait.time, "perf_counter", lambda: now[0])

    def slow():
        for number in range(2):
            now[0] += 8
            yield number
        now[0] += 1

    wait, batches = InputWait(), slow()
    for number in range(2):
        assert wait.next_of(batches) == number
        now[0] += 64
    assert wait.seconds == 16
    with pytest.raises(StopIteration):
        wait.next_of(batches)
    assert wait.seconds == 17
