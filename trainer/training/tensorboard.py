"""What TensorBoard shows of a training, under JOB/logs: its numbers, pictures of its confusions and a trace of steps.

An epoch's numbers are written once its state is saved, so that a training that goes on does not write them again.
"""

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tfrecords.common.command_line import UserError
from trainer.training.progress import PaceMeter
from trainer.training.schedules import History
from trainer.training_job import LOGS_DIR, TrainingJob

_CONFUSION = "confusion_matrix"
# What TensorFlow was at, before and behind the reason.
_PLACE = re.compile(r"\{\{.*?\}\}\s*|\s*\[Op:.*")
# To draw a picture may take so much of the time that has gone by since the last one.
_PICTURES_SHARE = 0.05


# Not the profile_batch of keras.callbacks.TensorBoard: it counts anew in each `fit`, of which a training that goes on
# has two, and writes losses of its own beside those of Board.
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


@contextlib.contextmanager
def writing(logs_dir: Path) -> Iterator[None]:
    """Around what TensorFlow writes for TensorBoard.

    Raises:
      UserError: it cannot be written.
    """
    try:
        yield
    except tf.errors.OpError as error:
        lines = _PLACE.sub("", str(error.message)).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{logs_dir} cannot be written: {lines[0]}") from None


class Board(keras.callbacks.Callback):
    """Writes losses, accuracies, learning rate, speed and the share of waiting, once an epoch.

    What cannot be written is a UserError.

    Training's are in logs/train, validation's in logs/validation, under the same names, so that they share a chart.

    Attributes:
      validation: writes to logs/validation; None without validation. One writer per directory, as TensorBoard
        ignores event files older than the newest one it has read.
    """

    def __init__(self, job_dir: Path, meter: PaceMeter, *, validates: bool = True) -> None:
        """Stands after SaveProgress and the meter in the list of callbacks."""
        super().__init__()
        self._meter = meter
        self._logs_dir = job_dir / LOGS_DIR
        self._train = self._writer("train")
        self.validation = self._writer("validation") if validates else None

    def _writer(self, name: str) -> tf.summary.SummaryWriter:
        with writing(self._logs_dir):
            return tf.summary.create_file_writer(str(self._logs_dir / name))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes the epoch's."""
        logs, pace = logs or {}, self._meter.pace()
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        train = {f"epoch_{name}": value for name, value in logs.items() if not name.startswith("val_")}
        train |= {"epoch_learning_rate": rate}
        if pace:
            train |= {"patches_per_s": pace.patches_per_s, "waiting_share": pace.waiting}
        validation = {f"epoch_{name[4:]}": value for name, value in logs.items() if name.startswith("val_")}
        for writer, values in ((self._train, train), (self.validation, validation)):
            if writer is None:
                continue
            with writing(self._logs_dir), writer.as_default(epoch):
                for tag, value in values.items():
                    tf.summary.scalar(tag, value)
                writer.flush()


class ConfusionPicture(keras.callbacks.Callback):
    """Draws the confusion matrix of the validation part's tracks by the best model so far.

    A better epoch that follows the last picture too soon has none, so that pictures take little of the time; at the end
    the model that is kept always has one.
    """

    def __init__(self, job: TrainingJob, job_dir: Path, history: History, writer: tf.summary.SummaryWriter) -> None:
        """Goes by the epochs in `history`; stands after BestCheckpoint in the list of callbacks."""
        super().__init__()
        self._writer = writer
        self._job = job
        self._job_dir = job_dir
        self._history = history
        self._drawn = 0
        self._next = 0.0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Draws, if the epoch is the best and enough time has gone by."""
        if self._best() == epoch + 1 and time.monotonic() >= self._next:
            began = time.monotonic()
            self._draw(epoch)
            ended = time.monotonic()
            self._next = ended + (ended - began) / _PICTURES_SHARE

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Draws for the model that is kept, unless that is done."""
        if self.model.stop_training and self._best() != self._drawn:
            self._draw(self._best() - 1)

    def _best(self) -> int:
        return self._job.rules.best_epoch(self._history)

    def _draw(self, epoch: int) -> None:
        from trainer.evaluation.metrics import summarize
        from trainer.evaluation.predictions import load_model, predict

        # As it was saved: the one that is trained may be spread over the devices of several hosts.
        model = load_model(self._job_dir)
        scores = summarize(predict(self._job, model, self._job.data_dir, self._job.parts.valid))
        picture = _confusion_picture(scores.confusion_matrix, self._job.labels)
        with writing(self._job_dir / LOGS_DIR), self._writer.as_default(epoch):
            tf.summary.image(_CONFUSION, picture[tf.newaxis])
            self._writer.flush()
        self._drawn = epoch + 1


def _confusion_picture(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> tf.Tensor:
    """Return [height, width, 3] uint8."""
    from trainer.reports.plots import confusion_matrix

    return tf.io.decode_png(confusion_matrix(confusion, labels), channels=3)
