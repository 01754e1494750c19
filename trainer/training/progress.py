"""What a training prints while it runs: a line for each epoch with its speed and the share of time spent waiting for
input, and between them a bar on a terminal, or a line a minute in a log.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

import keras
import numpy as np

from tfrecords.common.terminal import TerminalLine
from trainer.training.callbacks import SaveProgress

# A person reads no faster, and a step may take less than a line takes to be drawn.
_DRAW_EVERY_S = 0.2
_LINE_EVERY_S = 60.0
_SHORTEST_BAR, _LONGEST_BAR = 5, 20


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
        return self._whole if self._progress.step in (0, self._steps) else self._measure()

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
            self._whole = self._measure()

    def _now(self) -> tuple[float, float, int]:
        return time.perf_counter(), self._waited(), min(self._progress.step * self._batch_size, self._patches)

    def _measure(self) -> Pace | None:
        seconds, waited, patches = (now - began for now, began in zip(self._now(), self._began, strict=True))
        if not patches or seconds <= 0:
            return None
        # Both clocks are read one after the other.
        return Pace(patches / seconds, min(1.0, waited / seconds))


class ProgressLines(keras.callbacks.Callback):
    """Prints losses and accuracies over patches, speed, and the share of waiting."""

    def __init__(
        self,
        progress: SaveProgress,
        meter: PaceMeter,
        *,
        epochs: int,
        steps: int,
        validates: bool = True,
        to: TextIO | None = None,
    ) -> None:
        """Takes the numbers from where they are; both stand before this in the list of callbacks.

        Args:
          progress: knows the step.
          meter: knows the pace.
          epochs: at most.
          steps: in an epoch.
          validates: whether validation follows them.
          to: where to print; by default the standard output. A terminal gets a bar.
        """
        super().__init__()
        self._progress = progress
        self._meter = meter
        self._epochs = epochs
        self._steps = steps
        self._validates = validates
        self._line = TerminalLine(to or sys.stdout)
        self._every_s = _DRAW_EVERY_S if self._line.drawn else _LINE_EVERY_S
        self._printed = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock: in a log, an epoch of less than a minute prints its one line only."""
        self._printed = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Print how far the epoch is, if it is time."""
        now = time.monotonic()
        # The last step of an epoch is followed by its validation, in which the bar stands still.
        if now - self._printed >= self._every_s or (self._line.drawn and self._progress.step == self._steps):
            self._printed = now
            self._print_step(_means(logs or {}))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Print the epoch's line, in the place of the bar."""
        logs, pace = logs or {}, self._meter.pace()
        validation = ""
        if self._validates:
            validation = f"; validation {_means({name: logs[f'val_{name}'] for name in ('loss', 'accuracy')})}"
        speed = f"; {pace}" if pace else ""
        self.clear()
        line = f"epoch {epoch + 1} of {self._epochs}: {_means(logs)}{validation}{speed}"
        print(line, file=self._line.stream, flush=True)

    def clear(self) -> None:
        """Remove the bar, so that something else may be printed."""
        self._line.clear()

    def _print_step(self, means: str) -> None:
        epoch, step, pace = len(self._progress.history) + 1, self._progress.step, self._meter.pace()
        if not self._line.drawn:
            what = f"{means}; {pace}" if pace else means
            line = f"epoch {epoch} of {self._epochs}, step {step} of {self._steps}: {what}"
            print(line, file=self._line.stream, flush=True)
            return
        doing = "validating" if self._validates and step == self._steps else f"{step}/{self._steps}"
        before, after = f"epoch {epoch}/{self._epochs} ", f"{doing}: {means}{f'; {pace.brief}' if pace else ''}"
        # The last column stays free, and three are around the bar.
        length = min(_LONGEST_BAR, self._line.columns() - 1 - len(before) - len(after) - 3)
        bar = f"[{'=' * (length * step // self._steps):{length}}] " if length >= _SHORTEST_BAR else ""
        self._line.show(f"{before}{bar}{after}")


def _means(logs: Mapping[str, float]) -> str:
    # A loop of one's own may give tensors.
    return f"loss {float(np.asarray(logs['loss'])):.3f}, accuracy {float(np.asarray(logs['accuracy'])):.3f}"
