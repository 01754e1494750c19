"""Training on what Keras itself uses: one device, or all of a host under JAX."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from trainer.training.input_wait import InputWait


def fit(
    model: keras.Model,
    wait: InputWait,
    batches: tf.data.Dataset,
    *,
    initial_epoch: int,
    epochs: int,
    steps_per_epoch: int,
    validation_data: tf.data.Dataset | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """`keras.Model.fit`, which cannot run an epoch of no steps.

    Args:
      model: compiled.
      wait: adds up how long steps wait for their batches.
      batches: (patches, labels), as many as the steps or more.
      initial_epoch: number of the first epoch.
      epochs: the epoch after the last.
      steps_per_epoch: of every epoch; 0: the one epoch has only its end left, validation included.
      validation_data: (patches, labels); None: without validation.
      callbacks: they print what there is to see.
    """
    if not steps_per_epoch:
        _finish_epoch(model, validation_data, callbacks, epoch=initial_epoch, epochs=epochs)
        return
    model.fit(
        wait.timed(batches),
        initial_epoch=initial_epoch,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,  # The data set shuffles itself.
        validation_data=validation_data,
        verbose=0,
        callbacks=list(callbacks),
    )


def _finish_epoch(
    model: keras.Model,
    validation: tf.data.Dataset | None,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    epoch: int,
    epochs: int,
) -> None:
    """Validates and ends an epoch as `fit` does; one of the callbacks restores the means of its steps at its begin."""
    every = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs, steps=0, verbose=0)
    model.stop_training = False
    every.on_train_begin()
    model.reset_metrics()
    every.on_epoch_begin(epoch)
    logs = dict(model.get_metrics_result())
    if validation is not None:
        validated = model.evaluate(validation, callbacks=every, verbose=0, return_dict=True)
        logs |= {f"val_{name}": value for name, value in validated.items()}
    every.on_epoch_end(epoch, logs)
    every.on_train_end(logs)
