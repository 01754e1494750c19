"""One step over several devices, of training and of validation.

Each replica computes the losses of its rows. They are weighted by one over the rows of the whole batch, so that the sum
over all replicas is the mean of the batch, however its rows are dealt; the optimiser sums the gradients of all replicas
of all hosts before it applies them. The metrics' variables belong to the host and are given the sums over all replicas:
every host holds the same, and can save them without the others.
"""

from typing import Any

import keras
import tensorflow as tf


class Steps:
    """The steps of a compiled model; what they return is the metrics so far, name -> value, as Keras' own do."""

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy) -> None:
        """Takes a model that was made within the strategy's scope, and compiled outside of it.

        Its loss and its one metric, the accuracy, are those of `trainer.training.epochs.new_model`.
        """
        self._model = model
        self._strategy = strategy
        self.train = tf.function(lambda batch: self._run(self._train_replica, batch))
        self.test = tf.function(lambda batch: self._run(self._test_replica, batch))

    def _run(self, replica: Any, batch: Any) -> dict[str, tf.Tensor]:
        """Runs a step on all replicas and adds what they found to the metrics."""
        sums = self._strategy.run(replica, args=batch)
        loss, right, rows = (self._strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None) for each in sums)
        loss_total, loss_count, right_total, right_count = self._model.metrics_variables
        for variable, value in (
            (loss_total, loss * rows),
            (loss_count, rows),
            (right_total, right),
            (right_count, rows),
        ):
            variable.assign_add(value)
        return self._model.get_metrics_result()

    def _train_replica(self, patches: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        model = self._model
        with tf.GradientTape() as tape:
            probabilities = model(patches, training=True)
            loss = tf.reduce_sum(weights * model.loss.call(labels, probabilities))
            scaled = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, model.trainable_variables)
        if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _all_or_none(gradients)
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss, *_counts(labels, probabilities, weights)

    def _test_replica(self, patches: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        probabilities = self._model(patches, training=False)
        loss = tf.reduce_sum(weights * self._model.loss.call(labels, probabilities))
        return loss, *_counts(labels, probabilities, weights)


def _counts(labels: tf.Tensor, probabilities: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """How many rows are recognised, and how many there are, as float32."""
    accuracy = (
        keras.metrics.categorical_accuracy if labels.shape.rank == 2 else keras.metrics.sparse_categorical_accuracy
    )
    there = tf.cast(weights > 0, tf.float32)
    return tf.reduce_sum(there * accuracy(labels, probabilities)), tf.reduce_sum(there)


def _all_or_none(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """The gradients, which are infinite on every replica if they overflow on one.

    Whether to leave a step out is decided by each replica on its own gradients, before these are summed.
    """
    overflows = tf.reduce_any([tf.reduce_any(~tf.math.is_finite(each)) for each in gradients])
    replicas = tf.distribute.get_replica_context()
    number = replicas.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(overflows, tf.float32))
    return [tf.where(number > 0, tf.constant(float("inf"), each.dtype), each) for each in gradients]
