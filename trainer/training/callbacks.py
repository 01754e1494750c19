"""What happens during training besides the steps."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from tfrecords.command_line import UserError
from tfrecords.files import whole_file
from trainer import job_files
from trainer.training.recipes import History, Recipe
from trainer.training.training_state import STATE_FILE, TrainingState, values_of
from trainer.training.weight_average import averaged


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
            job_files.write_history(self._job_dir, self.history)

    def save_now(self) -> None:
        """Saves between two steps, or within the validation that follows the last step of an epoch."""
        # Validation has running means of its own in the place of those of the steps, and may have other weights.
        self._save(self._stepped if self.step == self._steps else values_of(self.model))

    def _save(self, values: Mapping[str, np.ndarray]) -> None:
        if not self._writes:
            return
        TrainingState(tuple(self.history), self.step, values).save(self._job_dir / STATE_FILE)
        self._saved = time.monotonic()


class BestCheckpoint(keras.callbacks.Callback):
    """Saves the model whenever it is the one to keep so far, whole or not at all."""

    def __init__(self, path: Path, recipe: Recipe, history: History) -> None:
        """Goes by the recipe's choice among the epochs in `history`, to which SaveProgress has added by then."""
        super().__init__()
        self._path = path
        self._recipe = recipe
        self._history = history

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves if it is that."""
        if self._recipe.best_epoch(self._history) == epoch + 1:
            save_model(self.model, self._path)


def save_model(model: keras.Model, path: Path) -> None:
    """Writes a model, whole or not at all: with the averages of its weights, where its optimiser keeps any.

    Raises:
      UserError: it cannot be written.
    """
    with averaged(model), whole_file(path) as temporary:
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


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with one clear line when a loss is no longer a number."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Raises UserError if the loss of training, or of validation where there is one, is not finite."""
        for name, meaning in (("loss", "training"), ("val_loss", "validation")):
            loss = (logs or {}).get(name, 0.0)
            if not math.isfinite(loss):
                raise UserError(f"the {meaning} loss is {loss} after epoch {epoch + 1}; lower --learning_rate")
