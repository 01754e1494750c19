"""How fast a training goes, and how much of its time it spends waiting for input."""

import dataclasses
import time
from collections.abc import Callable

import keras

from trainer.training.callbacks import SaveProgress


@dataclasses.dataclass(frozen=True)
class Pace:
    """Over the steps of an epoch, without its validation.

    Attributes:
      patches_per_s: trained on.
      waiting: share of the time that went by until batches were there; from 0 to 1.
    """

    patches_per_s: float
    waiting: float

    @property
    def brief(self) -> str:
        """In words, for a line of 80 characters."""
        return f"{self.patches_per_s:,.0f} patches/s, {100 * self.waiting:.0f} % waiting"

    def __str__(self) -> str:
        return f"{self.brief} for input"


class PaceMeter(keras.callbacks.Callback):
    """Measures the epoch under way, for callbacks that follow it.

    The first step of a process traces the model, and the first one of every `fit` fills the input pipeline: it is left
    out, with its patches and its waiting.
    """

    def __init__(
        self, progress: SaveProgress, waited: Callable[[], float], *, patches: int, batch_size: int, steps: int
    ) -> None:
        """Begins at no pace.

        Args:
          progress: knows the step; stands before this in the list of callbacks.
          waited: seconds of waiting so far, a number that only grows.
          patches: in an epoch.
          batch_size: patches in a step; the last one of an epoch may have fewer.
          steps: in an epoch.
        """
        super().__init__()
        self._progress = progress
        self._waited = waited
        self._patches = patches
        self._batch_size = batch_size
        self._steps = steps
        self._first = True
        self._began = (0.0, 0.0, 0)
        self._whole: Pace | None = None

    def pace(self) -> Pace | None:
        """Of the epoch under way, or of the one that ends; None: of no step yet."""
        return self._whole if self._progress.step in (0, self._steps) else self._measured()

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Leaves the first step out."""
        self._first = True

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Begins anew."""
        self._whole = None
        self._began = self._now()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Ends the measure with the last step, before validation."""
        if self._first:
            self._first = False
            self._began = self._now()
        elif self._progress.step == self._steps:
            self._whole = self._measured()

    def _now(self) -> tuple[float, float, int]:
        return time.perf_counter(), self._waited(), min(self._progress.step * self._batch_size, self._patches)

    def _measured(self) -> Pace | None:
        seconds, waited, patches = (now - began for now, began in zip(self._now(), self._began, strict=True))
        if not patches or seconds <= 0:
            return None
        # Both clocks are read one after the other.
        return Pace(patches / seconds, min(1.0, waited / seconds))
