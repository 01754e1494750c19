"""`fit` for several devices, on one host or many: the epochs and steps, with Keras' own callbacks.

Each replica computes the losses of its rows. They are weighted by one over the rows of the whole batch, so that the sum
over all replicas is the mean of the batch, however its rows are divided; the optimizer sums the gradients of all
replicas of all hosts before it applies them. The metrics' variables belong to the host and are given the sums over all
replicas: every host holds the same, and can save them without the others.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.training.input_wait import InputWait
from trainer.training.losses import confusion


def replica_batches(batches: tf.data.Dataset, *, rows: int, local: int) -> tf.data.Dataset:
    """Deal this host's rows of every global batch to its replicas, in order.

    All replicas get the same number of rows, as accelerators want one shape: missing rows are zeros of weight 0.

    Args:
      batches: this host's rows, at most so many: patches [rows, frames, mel_bands, 1] float32, labels [rows] int32 or
        [rows, labels] float32 and, of several hosts, the number of rows of the global batch, [] int32.
      rows: rows of a full batch that are this host's.
      local: replicas of this host.

    Returns:
      A dataset of `local` elements for every batch, each (patches [rows, ...], labels [rows, ...], weights [rows]
      float32) with rows / local, rounded up. The weights of a batch sum to 1 over all replicas of all hosts.
    """
    dealt_rows = -(-rows // local)

    def deal(patches: tf.Tensor, labels: tf.Tensor, total: tf.Tensor | None = None) -> tuple[tf.Tensor, ...]:
        count = tf.shape(labels)[0]
        weights = tf.fill([count], 1.0 / tf.cast(count if total is None else total, tf.float32))
        return tuple(dealt(array) for array in (patches, labels, weights))

    def dealt(array: tf.Tensor) -> tf.Tensor:
        shape = array.shape[1:].as_list()
        missing = local * dealt_rows - tf.shape(array)[0]
        padded = tf.pad(array, [[0, missing], *[[0, 0]] * len(shape)])
        return tf.reshape(padded, [local, dealt_rows, *shape])

    return batches.map(deal, num_parallel_calls=tf.data.AUTOTUNE).unbatch()


class Steps:
    """The steps of a compiled model; what they return is the metrics so far, name -> value, as Keras' own do."""

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy) -> None:
        """Takes a model that was made within the strategy's scope, and compiled outside of it.

        Its loss and its metrics, accuracy and perhaps a macro score, are those of `trainer.training.epochs.new_model`.
        """
        self._model = model
        self._strategy = strategy
        # Beside the total and count of loss and accuracy.
        self._has_macro_score = len(model.metrics_variables) > 4
        self.train = tf.function(lambda batch: self._run(self._train_replica, batch))
        self.test = tf.function(lambda batch: self._run(self._test_replica, batch))

    def _run(self, replica: Any, batch: Any) -> dict[str, tf.Tensor]:
        """Runs a step on all replicas and adds what they found to the metrics."""
        sums = self._strategy.run(replica, args=batch)
        loss, right, rows, *others = (
            self._strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None) for each in sums
        )
        # Total and count of the loss, then of the accuracy.
        added = [loss * rows, rows, right, rows, *others]
        for variable, value in zip(self._model.metrics_variables, added, strict=True):
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
        return loss, *self._counts(labels, probabilities, weights)

    def _test_replica(self, patches: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        probabilities = self._model(patches, training=False)
        loss = tf.reduce_sum(weights * self._model.loss.call(labels, probabilities))
        return loss, *self._counts(labels, probabilities, weights)

    def _counts(self, labels: tf.Tensor, probabilities: tf.Tensor, weights: tf.Tensor) -> list[tf.Tensor]:
        """How many rows are recognised, how many there are and, for a macro score, their confusions; float32."""
        accuracy = (
            keras.metrics.categorical_accuracy if labels.shape.rank == 2 else keras.metrics.sparse_categorical_accuracy
        )
        there = tf.cast(weights > 0, tf.float32)
        counts = [tf.reduce_sum(there * accuracy(labels, probabilities)), tf.reduce_sum(there)]
        return [*counts, confusion(labels, probabilities, there)] if self._has_macro_score else counts


def _all_or_none(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """The gradients, which are infinite on every replica if they overflow on one.

    Whether to leave a step out is decided by each replica on its own gradients, before these are summed.
    """
    overflows = tf.reduce_any([tf.reduce_any(~tf.math.is_finite(each)) for each in gradients])
    replicas = tf.distribute.get_replica_context()
    number = replicas.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(overflows, tf.float32))
    return [tf.where(number > 0, tf.constant(float("inf"), each.dtype), each) for each in gradients]


class Loop:
    """Trains a compiled model over a strategy's devices, as `keras.Model.fit` does on one."""

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        wait: InputWait,
        *,
        batch_size: int,
        hosts: int,
    ) -> None:
        """Takes a model.

        Args:
          model: made within the strategy's scope, and compiled outside of it.
          strategy: of the devices of all hosts.
          wait: adds up how long steps wait for their batches.
          batch_size: of the global batch.
          hosts: how many there are, all with equally many devices.
        """
        self._model = model
        self._strategy = strategy
        self._wait = wait
        self._rows = -(-batch_size // hosts)
        self._local = strategy.num_replicas_in_sync // hosts
        self._steps = Steps(model, strategy)

    def fit(
        self,
        batches: tf.data.Dataset,
        *,
        initial_epoch: int,
        epochs: int,
        steps_per_epoch: int,
        validation_data: tf.data.Dataset | None,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        """Train as `devices.fit` does; all hosts call it alike.

        Args:
          batches: this host's rows of global batches, as many as the steps or more, as of `replica_batches`.
          initial_epoch: number of the first epoch.
          epochs: the epoch after the last.
          steps_per_epoch: of every epoch; 0: it has only its end left, validation included.
          validation_data: the same, of known number; None: without validation.
          callbacks: called on every host.
        """
        model = self._model
        listeners = keras.callbacks.CallbackList(
            list(callbacks), model=model, verbose=0, epochs=epochs, steps=steps_per_epoch
        )
        iterator = self._distributed(batches)
        model.stop_training = False
        listeners.on_train_begin()
        logs: dict[str, Any] = {}
        for epoch in range(initial_epoch, epochs):
            model.reset_metrics()
            listeners.on_epoch_begin(epoch)
            logs = model.get_metrics_result()
            for step in range(steps_per_epoch):
                listeners.on_train_batch_begin(step)
                logs = self._steps.train(self._wait.next_of(iterator))
                listeners.on_train_batch_end(step, logs)
                if model.stop_training:
                    break
            logs = _numbers(logs)
            if validation_data is not None:
                logs |= self._evaluated(validation_data, listeners)
            listeners.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        listeners.on_train_end(logs)

    def _evaluated(self, batches: tf.data.Dataset, listeners: keras.callbacks.CallbackList) -> dict[str, float]:
        """The model's metrics on all batches, under their names with val_."""
        self._model.reset_metrics()
        listeners.on_test_begin()
        iterator = self._distributed(batches)
        logs: dict[str, Any] = {}
        for step in range(int(batches.cardinality())):
            listeners.on_test_batch_begin(step)
            logs = self._steps.test(next(iterator))
            listeners.on_test_batch_end(step, logs)
        found = _numbers(logs)
        listeners.on_test_end(found)
        return {f"val_{name}": value for name, value in found.items()}

    def _distributed(self, batches: tf.data.Dataset) -> Any:
        """An iterator over what the devices of this host are given."""

        def own(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return replica_batches(batches, rows=self._rows, local=self._local)

        return iter(self._strategy.distribute_datasets_from_function(own))


def _numbers(logs: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items()}
