"""What is left of an epoch that was stopped after its last step."""

from collections.abc import Sequence

import keras
import tensorflow as tf


def finish_epoch(
    model: keras.Model,
    validation: tf.data.Dataset,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    epoch: int,
    epochs: int,
    steps: int,
) -> None:
    """Validates and ends an epoch as `fit` does, which cannot run an epoch of no steps.

    Args:
      model: as it was after the last step.
      validation: patches and labels.
      callbacks: among them one that restores the running means of the epoch's steps when it begins.
      epoch: from 0.
      epochs: at most.
      steps: in an epoch.
    """
    every = keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs, steps=steps, verbose=0)
    model.stop_training = False
    every.on_train_begin()
    model.reset_metrics()
    every.on_epoch_begin(epoch)
    logs = dict(model.get_metrics_result())
    validated = model.evaluate(validation, callbacks=every, verbose=0, return_dict=True)
    logs |= {f"val_{name}": value for name, value in validated.items()}
    every.on_epoch_end(epoch, logs)
    every.on_train_end(logs)
