"""The moving average of the weights, whose model is validated and kept, beside the weights that are trained.

After every step each average is momentum x average + (1 - momentum) x weight, and after the first one the weight itself
(as Szegedy et al. 2016, Rethinking the Inception Architecture, evaluate their models). Keras' optimisers do that
(`use_ema`), and their averages are among the optimiser's variables, so that state.npz holds them. The statistics of
BatchNormalization are running means by themselves and are not averaged: a kept model has those of the last step.
"""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np


def is_averaging(model: keras.Model) -> bool:
    """Whether a model's optimiser has averages: it keeps them, and has done a step."""
    optimizer = getattr(model, "optimizer", None)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if optimizer is None or not optimizer.use_ema:
        return False
    return int(keras.ops.convert_to_numpy(optimizer.iterations)) > 0


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Within the block, the weights of a model are their averages, where there are any."""
    if not is_averaging(model):
        yield
        return
    own = _weights(model)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    # As values of their own: JAX would share the averages' memory, and free it in the next step.
    _assign(model, _weights(model))
    try:
        yield
    finally:
        _assign(model, own)


class WeightAverage(keras.callbacks.Callback):
    """Validates by the averages, and goes on with the weights.

    At its end, Keras' `fit` leaves the averages in the place of the weights; a training of several `fit` would not be
    the same then as one of a single one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._validation = contextlib.ExitStack()
        self._own: list[np.ndarray] = []

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Takes the averages."""
        self._validation.enter_context(averaged(self.model))

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Takes the weights again."""
        self._validation.close()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remembers the weights."""
        self._own = _weights(self.model)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Takes them again."""
        _assign(self.model, self._own)


def _weights(model: keras.Model) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]


def _assign(model: keras.Model, values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)
