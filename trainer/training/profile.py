"""A look into some steps: which operations took how long, on which device, for TensorBoard's profiler."""

from pathlib import Path

import keras
import tensorflow as tf

from trainer.training_job import LOGS_DIR


class ProfileSteps(keras.callbacks.Callback):
    """Traces a range of the steps that a process does; the trace is in logs/plugins/profile."""

    def __init__(self, job_dir: Path, first: int, last: int) -> None:
        """From step `first` to step `last`, counted from 1 and from where this process begins."""
        super().__init__()
        self._logs_dir = job_dir / LOGS_DIR
        self._first = first
        self._last = last
        self._step = 0
        self._tracing = False

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Begins before the first of them."""
        self._step += 1
        if self._step == self._first:
            tf.profiler.experimental.start(str(self._logs_dir))
            self._tracing = True

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Ends after the last of them."""
        if self._step == self._last:
            self.close()

    def close(self) -> None:
        """Ends the trace where training ends before it, or is stopped."""
        if self._tracing:
            self._tracing = False
            tf.profiler.experimental.stop()
            print(f"steps {self._first} to {self._step} are traced, in {self._logs_dir}", flush=True)
