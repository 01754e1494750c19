"""What training does between steps and at the end of an epoch: save, average, stop.

The moving average of the weights, whose model is validated and kept: after every step each average is momentum x
average + (1 - momentum) x weight, and after the first one the weight itself (as Szegedy et al. 2016, Rethinking the
Inception Architecture, evaluate their models). Keras' optimizers compute it (`use_ema`) in variables of their own,
which are saved with the state. BatchNormalization's statistics are running means already and are not averaged: a kept
model has those of the last step.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from tfrecords.common.command_line import UserError
from tfrecords.common.files import atomic_write
from trainer import job_store, training_job
from trainer.training.schedules import History, Recipe
from trainer.training.stop import Stop
from trainer.training.training_state import STATE_FILE, TrainingState, values_of


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


# Not keras.callbacks.SwapEMAWeights: it swaps by adding and subtracting, which rounds, and so changes the weights that
# are trained on; and what it leaves between two `fit` is not what an unbroken training has.
class WeightAverage(keras.callbacks.Callback):
    """Validates by the averages, and trains on with the weights.

    Keras' `fit` ends by putting the averages in the place of the weights; this puts the weights back, so that a
    training of several `fit` is the same as one of a single `fit`.
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


class SaveProgress(keras.callbacks.Callback):
    """Saves where training stands, at the end of every epoch and now and then within one; keeps history.csv.

    Attributes:
      history: of the finished epochs; callbacks later in the list find the one that ends in it.
      step: steps of the epoch under way that are done.
    """

    def __init__(
        self, job_dir: Path, start: TrainingState, *, steps: int, save_every_s: float, writes: bool = True
    ) -> None:
        """Takes up a training.

        Args:
          job_dir: of state.npz and history.csv.
          start: the moment at which the first `fit` begins.
          steps: in an epoch.
          save_every_s: save after the step that ends so long after the last save, or later; 0: after every step.
          writes: False where another host writes the files.
        """
        super().__init__()
        self._job_dir = job_dir
        self._writes = writes
        self._start = start
        self.step = start.step
        self.history = list(start.history)
        self._steps = steps
        self._save_every_s = save_every_s
        self._saved = time.monotonic()
        self._done_before = 0
        self._stepped: dict[str, np.ndarray] = {}

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Takes up an epoch that was interrupted, whose first steps are not done again."""
        self._done_before = self._start.step if epoch == self._start.epoch else 0
        self.step = self._done_before
        if self._done_before:
            self._start.restore_metrics(self.model)
            self._stepped = values_of(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Saves if it is time."""
        self.step = self._done_before + batch + 1
        # After the last step validation is due, and then the epoch is saved.
        if self.step == self._steps:
            self._stepped = values_of(self.model)
        elif time.monotonic() - self._saved >= self._save_every_s:
            self._save(values_of(self.model))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves, and writes the history."""
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        self.step = 0
        self._save(values_of(self.model))
        if self._writes:
            training_job.write_history(self._job_dir, self.history)

    def save_now(self) -> None:
        """Saves between two steps, or within the validation that follows the last step of an epoch."""
        # Validation has running means of its own in the place of those of the steps, and may have other weights.
        self._save(self._stepped if self.step == self._steps else values_of(self.model))

    def _save(self, values: Mapping[str, np.ndarray]) -> None:
        if not self._writes:
            return
        TrainingState(tuple(self.history), self.step, values).save(self._job_dir / STATE_FILE)
        self._saved = time.monotonic()


class PublishCopy(keras.callbacks.Callback):
    """Puts what an epoch, or a save within one, has changed in the copy of a job's directory into its store."""

    def __init__(self, job_dir: Path) -> None:
        """Stands after all callbacks that write files in the list."""
        super().__init__()
        self._state = job_dir / STATE_FILE
        self._saved: int | None = None

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Publish if the state was saved after this step."""
        saved = self._state.stat().st_mtime_ns
        if self._saved is not None and saved != self._saved:
            job_store.publish(self._state)
        self._saved = saved

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Publish the epoch."""
        job_store.publish(self._state)
        self._saved = self._state.stat().st_mtime_ns


class BestCheckpoint(keras.callbacks.Callback):
    """Saves the model whenever it is the one to keep so far, whole or not at all."""

    def __init__(self, path: Path, recipe: Recipe, history: History) -> None:
        """Goes by the recipe's choice among the epochs in `history`, to which SaveProgress has added by then."""
        super().__init__()
        self._path = path
        self._recipe = recipe
        self._history = history

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save the model if this is the epoch to keep."""
        if self._recipe.best_epoch(self._history) == epoch + 1:
            save_model(self.model, self._path)


def save_model(model: keras.Model, path: Path) -> None:
    """Writes a model, whole or not at all: with the averages of its weights, where its optimiser keeps any.

    Raises:
      UserError: it cannot be written.
    """
    with averaged(model), atomic_write(path) as temporary:
        model.save(temporary)


class StopWhenDone(keras.callbacks.Callback):
    """Ends training when its recipe says so."""

    def __init__(self, is_done: Callable[[], bool]) -> None:
        """Asks `is_done` after each epoch."""
        super().__init__()
        self._is_done = is_done

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Stops if it is time."""
        if self._is_done():
            self.model.stop_training = True


class HalveRate(keras.callbacks.Callback):
    """Sets the learning rate of each epoch, for a recipe that halves it."""

    def __init__(self, recipe: Recipe, history: History, learning_rate: float) -> None:
        """Goes by the epochs in `history`, to which SaveProgress adds.

        Args:
          recipe: one with `rises`.
          history: of the finished epochs.
          learning_rate: of the first epoch.
        """
        super().__init__()
        self._recipe = recipe
        self._history = history
        self._learning_rate = learning_rate

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Sets it, and says so where it changes."""
        rate = self._recipe.rate_after(self._history, self._learning_rate)
        if rate != self._recipe.rate_after(self._history[:-1], self._learning_rate):
            print(f"learning rate {rate:g} from epoch {epoch + 1} on", flush=True)
        self.model.optimizer.learning_rate = rate


# Not keras.callbacks.TerminateOnNaN: it does not look at the validation loss, and says neither the epoch nor a remedy.
class StopOnNaN(keras.callbacks.Callback):
    """Ends training with one clear line when a loss is no longer a number."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Raises UserError if the loss of training, or of validation where there is one, is not finite."""
        for name, meaning in (("loss", "training"), ("val_loss", "validation")):
            loss = (logs or {}).get(name, 0.0)
            if not math.isfinite(loss):
                raise UserError(f"the {meaning} loss is {loss} after epoch {epoch + 1}; lower `learning_rate`")


class StopWhenAsked(keras.callbacks.Callback):
    """Saves the state and raises Stopped after the step or the batch of validation in which a signal came.

    To be the last of the callbacks: what the others have to do for the step is done by then.
    """

    def __init__(self, stop: Stop, progress: SaveProgress, *, name: str, epochs: int, steps: int) -> None:
        """Ends a training on request.

        Args:
          stop: the request.
          progress: knows where training stands, and saves it.
          name: of the model, for the message.
          epochs: at most.
          steps: in an epoch.
        """
        super().__init__()
        self._stop = stop
        self._progress = progress
        self._name = name
        self._epochs = epochs
        self._steps = steps

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Has a signal end the process at once: the first step traces, and may take longer than there is time."""
        self._stop.deferred = False
        self._stop.check()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stops, after a step, if it is asked for."""
        self._stop.deferred = True
        self._save_and_stop()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Has a signal wait for the batch of validation under way, also where an epoch has only that to do."""
        self._stop.deferred = True

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stops within a validation, which is then done anew."""
        self._save_and_stop()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Stops at the end of an epoch, whose state SaveProgress has saved."""
        self._stop.check(self._place())

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """From here on a signal ends the process at once."""
        self._stop.deferred = False

    def _save_and_stop(self) -> None:
        if self._stop.requested is not None:
            self._progress.save_now()
            self._stop.check(self._place())

    def _place(self) -> str:
        epoch, step = len(self._progress.history), self._progress.step
        if not step:
            return f"after epoch {epoch} of {self._epochs} of {self._name}"
        return f"in epoch {epoch + 1} of {self._epochs} of {self._name}, after step {step} of {self._steps}"
