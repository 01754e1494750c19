"""What a training says while it runs: a line for each epoch, and between them a bar on a terminal, lines in a log."""

import sys
import time
from collections.abc import Mapping
from typing import TextIO

import keras
import numpy as np

from tfrecords.terminal_line import TerminalLine
from trainer.training.callbacks import SaveProgress
from trainer.training.pace import PaceMeter

# A person reads no faster, and a step may take less than a line takes to be drawn.
_DRAW_EVERY_S = 0.2
_LINE_EVERY_S = 60.0
_SHORTEST_BAR, _LONGEST_BAR = 5, 20


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
        self._said = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Begins to wait; an epoch of a log that is shorter gets its one line."""
        self._said = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Tells of the epoch under way, if it is time."""
        now = time.monotonic()
        # The last step of an epoch is followed by its validation, in which the bar stands still.
        if now - self._said >= self._every_s or (self._line.drawn and self._progress.step == self._steps):
            self._said = now
            self._tell(_means(logs or {}))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Prints the epoch's line, in the place of the bar."""
        logs, pace = logs or {}, self._meter.pace()
        validation = ""
        if self._validates:
            validation = f"; validation {_means({name: logs[f'val_{name}'] for name in ('loss', 'accuracy')})}"
        speed = f"; {pace}" if pace else ""
        self.clear()
        line = f"epoch {epoch + 1} of {self._epochs}: {_means(logs)}{validation}{speed}"
        print(line, file=self._line.stream, flush=True)

    def clear(self) -> None:
        """Takes the bar away, so that something else may be printed."""
        self._line.clear()

    def _tell(self, means: str) -> None:
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
