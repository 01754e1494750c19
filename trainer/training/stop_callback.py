"""Where a training looks whether it is to stop, and what it leaves then."""

import keras

from trainer.training.callbacks import SaveProgress
from trainer.training.stop import Stop


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
        """Nobody looks any more."""
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
