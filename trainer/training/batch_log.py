"""Which batches a training was fed, as a file: what shows that one which was interrupted went on where it was."""

import hashlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfrecords.command_line import UserError


class BatchLog(keras.callbacks.Callback):
    """Appends a line `epoch step sha256` once a batch has been trained on, both numbers from 0. Keeps no file open.

    The hash is over the patches' and the labels' bytes. A batch that was read ahead but not trained on has no line.
    """

    def __init__(self, path: Path, *, steps: int) -> None:
        """Makes the file, unless it is there.

        Args:
          path: of the log; what it holds stays.
          steps: in an epoch.

        Raises:
          UserError: it cannot be written.
        """
        super().__init__()
        try:
            path.open("a").close()
        except OSError as error:
            raise UserError(f"--log_batches={path} cannot be written: {error.strerror}") from None
        self._path = path
        self._steps = steps
        self._hashes: dict[int, str] = {}
        self._number = 0

    def recorded(self, batches: tf.data.Dataset, *, epoch: int, step: int) -> tf.data.Dataset:
        """The same batches, hashed as they are read.

        Args:
          batches: of (patches, labels), for the next `fit`.
          epoch: of the first batch.
          step: of the first batch.
        """
        self._number = epoch * self._steps + step

        def keep(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            tf.numpy_function(self._hash, [number, *batch], [])
            return batch

        return batches.enumerate(self._number).map(keep)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Writes the batch's line."""
        epoch, step = divmod(self._number, self._steps)
        with self._path.open("a", encoding="ascii") as file:
            file.write(f"{epoch} {step} {self._hashes.pop(self._number)}\n")
        self._number += 1

    def _hash(self, number: int, patches: np.ndarray, labels: np.ndarray) -> None:
        # Reading is ahead of training, so that hashes wait for their turn.
        self._hashes[int(number)] = hashlib.sha256(patches.tobytes() + labels.tobytes()).hexdigest()
