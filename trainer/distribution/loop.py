"""`fit` for several devices, on one host or many: the epochs around the steps of `steps`, with Keras' own callbacks."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.distribution.replica_batches import replica_batches
from trainer.distribution.steps import Steps
from trainer.training.input_wait import InputWait


class Loop:
    """Trains a compiled model over a strategy's devices, as `keras.Model.fit` does on one."""

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        wait: InputWait,
        *,
        batch_size: int,
        host: int,
        hosts: int,
    ) -> None:
        """Takes a model.

        Args:
          model: made within the strategy's scope, and compiled outside of it.
          strategy: of the devices of all hosts.
          wait: adds up how long steps wait for their batches.
          batch_size: of the global batch.
          host: which host this is, from 0.
          hosts: how many there are, all with equally many devices.
        """
        self._model = model
        self._strategy = strategy
        self._wait = wait
        self._batch_size = batch_size
        self._host = host
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
        """As `one_device.fit`; all hosts call it alike.

        Args:
          batches: global batches (patches, labels), as many as the steps or more, the same on all hosts.
          initial_epoch: number of the first epoch.
          epochs: the epoch after the last.
          steps_per_epoch: of every epoch; 0: it has only its end left, validation included.
          validation_data: global batches of known number; None: without validation.
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
            return replica_batches(
                batches,
                batch_size=self._batch_size,
                replicas=self._strategy.num_replicas_in_sync,
                first=self._host * self._local,
                local=self._local,
            )

        return iter(self._strategy.distribute_datasets_from_function(own))


def _numbers(logs: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items()}
