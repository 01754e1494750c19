"""Where an unfinished training stands, in one file: every variable, the history so far and the place in the data.

JOB/state.npz is there as long as the job is unfinished. It is written under a temporary name, flushed to the disk and
renamed, so that a process may be killed at any moment: what is found is a whole state, the last one or the one before.

The place is (finished epochs, steps of the next one). As every batch is a function of (seed, epoch, step), a training
that goes on from there sees the very batches that it would have seen. The variables are those of the weights, the
optimiser (whose iterations place the learning rate), the dropout's seeds and the metrics: the running means of an
epoch that was interrupted cover all its steps.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfrecords.common.command_line import UserError
from tfrecords.streams import ORDER_VERSION
from trainer import npz

if TYPE_CHECKING:
    import keras

STATE_FILE = "state.npz"
_NUMBERS = "numbers"
_METRICS = "metrics"


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingState:
    """A moment between two steps of a training.

    Attributes:
      history: per finished epoch, metric name -> value; `loss` is among them, and `val_loss` with validation.
      step: steps of the next epoch that are done, from 0; where all are, its validation is still to be done.
      variables: of the model, by the names that `variables_of` gives; empty when training has not begun.
    """

    history: Sequence[Mapping[str, float]] = ()
    step: int = 0
    variables: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Finished epochs; also the number, from 0, of the one that is next or under way."""
        return len(self.history)

    def save(self, path: Path) -> None:
        """Writes the state, whole or not at all.

        Raises:
          UserError: it cannot be written.
        """
        history = [dict(row) for row in self.history]
        numbers = json.dumps({"step": self.step, "history": history, "order_version": ORDER_VERSION})
        npz.save(path, {_NUMBERS: np.array(numbers), **self.variables}, compressed=False)

    @classmethod
    def load(cls, path: Path) -> "TrainingState":
        """Reads a state.

        Raises:
          UserError: it cannot be read, is no training's state, or stands in the middle of an epoch of another order.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                variables = {name: arrays[name] for name in arrays.files}
            numbers = json.loads(str(variables.pop(_NUMBERS)))
            rows = [{str(name): float(value) for name, value in row.items()} for row in numbers["history"]]
            state = cls(rows, int(numbers["step"]), variables)
            if state.step < 0 or not all(row.keys() & {"loss", "val_loss"} for row in rows):
                raise ValueError("no place in a training")
            order_version = numbers.get("order_version", 1)
        except npz.DAMAGED as error:
            raise _damaged(path, error) from None
        if state.step and order_version != ORDER_VERSION:
            raise UserError(
                f"{path}: stands in the middle of epoch {state.epoch + 1}, whose patches another version of this "
                "program reads in another order: finish the epoch with that version, or --overwrite starts over"
            )
        return state

    def restore(self, model: "keras.Model", path: Path) -> None:
        """Gives a built model (see `build`) the state's variables.

        Raises:
          UserError: they are not this model's; `path` is named as their source.
        """
        variables = variables_of(model)
        expected = {name: tuple(variable.shape) for name, variable in variables.items()}
        if expected != {name: value.shape for name, value in self.variables.items()}:
            raise _damaged(path, "its variables are not this model's")
        for name, variable in variables.items():
            variable.assign(self.variables[name])

    def restore_metrics(self, model: "keras.Model") -> None:
        """Gives a model the running means of the epoch that is under way."""
        for name, variable in variables_of(model).items():
            if name.startswith(_METRICS):
                variable.assign(self.variables[name])


def build(model: "keras.Model", *, soft_labels: bool = False) -> None:
    """Makes the variables of a compiled model that Keras leaves until the first step: optimiser's and metrics'.

    Args:
      model: patches -> probabilities [batch, num_classes].
      soft_labels: its loss takes labels as [batch, num_classes] instead of [batch].
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    # Metrics are built by what they are given.
    classes = model.output_shape[-1]
    label = np.zeros((1, classes), np.float32) if soft_labels else np.zeros(1, np.int32)
    model.compute_metrics(None, label, np.full((1, classes), 1 / classes, np.float32))
    model.reset_metrics()


def variables_of(model: "keras.Model") -> "dict[str, keras.Variable]":
    """All that a model's training changes, under names that are the same in every process."""
    groups = {
        "trainable": model.trainable_variables,
        "other": model.non_trainable_variables,
        "optimizer": model.optimizer.variables,
        _METRICS: model.metrics_variables,
    }
    # Keras numbers the names of dropout's seeds through the whole process, so places stand for names.
    return {f"{group}/{place}": variable for group, own in groups.items() for place, variable in enumerate(own)}


def values_of(model: "keras.Model") -> dict[str, np.ndarray]:
    """`variables_of` as arrays of the host, which later steps do not change."""
    import keras

    return {name: np.array(keras.ops.convert_to_numpy(variable)) for name, variable in variables_of(model).items()}


def _damaged(path: Path, error: object) -> UserError:
    text = str(error).splitlines()[0] if str(error) else "it ends too early"
    return UserError(f"{path}: not the state of this training ({text}); `overwrite` starts over")
