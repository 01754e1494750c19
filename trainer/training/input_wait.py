"""Measures how long training waits for its batches, apart from the steps themselves.

Keras' `fit` takes a batch inside the compiled function of its step (`iterator.get_next()` in
keras/src/backend/tensorflow/trainer.py), so callbacks cannot separate waiting from computing. The last stage of the
input pipeline times it instead: it reads the clock when a batch is requested and again when it has the batch. The
stages before it prefetch, so the difference is the time left to wait.

It is the time from a step's wish for a batch to the batch on the host. As `fit` reads the metrics of every step, no
step begins before the last one is done, on a GPU either. The copy to a device comes after. A batch that is ready costs
0.1 ms, which is counted. Where batches are fetched ahead of the asking, as the iterators of a distribution strategy
do, take `next_of`, which times a loop of one's own.
"""

import time
from collections.abc import Iterator
from typing import TypeVar

import tensorflow as tf

Batch = TypeVar("Batch")


class InputWait:
    """Adds up waiting, over all that is read through it."""

    def __init__(self) -> None:
        # Where the pipeline runs, on every machine.
        with tf.device("/CPU:0"):
            self._in_graph = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._in_python = 0.0

    @property
    def seconds(self) -> float:
        """Waited so far."""
        return float(self._in_graph.numpy()) + self._in_python

    def timed(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches for `fit`; nothing may be put behind it but `fit`."""
        # The stages of a zip are asked one after another, in the thread that asks for the whole.
        moments = tf.data.Dataset.range(tf.int64.max).map(lambda _: tf.timestamp())

        def add(asked: tf.Tensor, batch: tuple[tf.Tensor, ...], given: tf.Tensor) -> tuple[tf.Tensor, ...]:
            self._in_graph.assign_add(given - asked)
            return batch

        options = tf.data.Options()
        options.deterministic = True
        # TensorFlow would put a stage that fetches ahead at the end, and the waiting would not be training's.
        options.experimental_optimization.inject_prefetch = False
        return tf.data.Dataset.zip((moments, batches, moments)).map(add).with_options(options)

    def next_of(self, batches: Iterator[Batch]) -> Batch:
        """The next batch of a loop of one's own, for `for` would wait unseen.

        Raises:
          StopIteration: there is none.
        """
        began = time.perf_counter()
        try:
            return next(batches)
        finally:
            self._in_python += time.perf_counter() - began
