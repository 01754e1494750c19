"""What happens during training besides the steps."""

import math
from pathlib import Path

import keras

from tfrecords.command_line import UserError


class BestCheckpoint(keras.callbacks.Callback):
    """Saves the model whenever the validation loss is the best so far, whole or not at all."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._best = math.inf
        self.best_epoch = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves if better."""
        loss = (logs or {})["val_loss"]
        if loss < self._best:
            self._best, self.best_epoch = loss, epoch + 1
            temporary = self._path.with_name(f".tmp-{self._path.name}")
            try:
                self.model.save(temporary)
                temporary.replace(self._path)
            except OSError as error:
                raise UserError(f"{self._path} cannot be written: {error.strerror or error}") from None
            finally:
                temporary.unlink(missing_ok=True)


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with one clear line when a loss is no longer a number."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Raises UserError if the loss of training or of validation is not finite."""
        for name, meaning in (("loss", "training"), ("val_loss", "validation")):
            loss = (logs or {})[name]
            if not math.isfinite(loss):
                raise UserError(f"the {meaning} loss is {loss} after epoch {epoch + 1}; lower --learning_rate")


class EpochLine(keras.callbacks.Callback):
    """One line per epoch, for a log."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Prints losses and accuracies over patches."""
        logs = logs or {}
        print(
            f"epoch {epoch + 1} of {self._epochs}: loss {logs['loss']:.3f}, accuracy {logs['accuracy']:.3f}; "
            f"validation loss {logs['val_loss']:.3f}, accuracy {logs['val_accuracy']:.3f}",
            flush=True,
        )
