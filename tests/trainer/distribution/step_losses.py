import keras


class StepLosses(keras.callbacks.Callback):
    """Writes the loss of each step, from the running mean of its epoch, as `epoch step loss`."""

    def __init__(self, path):
        super().__init__()
        self._file = path.open("a")

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._done = epoch, None

    def on_train_batch_begin(self, batch, logs=None):
        # One that goes on in mid-epoch has done steps already, of whole batches.
        if self._done is None:
            self._done = self._sums()

    def on_train_batch_end(self, batch, logs=None):
        total, count = self._sums()
        before_total, before_count = self._done
        self._done = total, count
        self._file.write(f"{self._epoch} {count:g} {(total - before_total) / (count - before_count):.9g}\n")
        self._file.flush()

    def _sums(self):
        total, count = self.model.metrics_variables[:2]
        return float(keras.ops.convert_to_numpy(total)), float(keras.ops.convert_to_numpy(count))
