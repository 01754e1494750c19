import hashlib

import numpy as np
import pytest
import tensorflow as tf

from tfrecords.common.command_line import UserError
from trainer.training.batches import BatchLog

PATCHES, LABELS = np.arange(14, dtype=np.float32).reshape(7, 2), np.arange(7, dtype=np.int32)


def digest(place):
    return hashlib.sha256(PATCHES[place : place + 1].tobytes() + LABELS[place : place + 1].tobytes()).hexdigest()


def test_a_line_is_written_for_each_batch_once_it_was_trained_on(tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    log = BatchLog(path, steps=3)
    batches = log.recorded(tf.data.Dataset.from_tensor_slices((PATCHES, LABELS)).batch(1).prefetch(3), epoch=4, step=1)
    lines = ["before"]
    # An iterator that is begun and given up, as when Keras looks at the first batch, leaves no line.
    next(iter(batches))
    for place, (patches, labels) in enumerate(batches):
        np.testing.assert_array_equal(patches, PATCHES[place : place + 1])
        np.testing.assert_array_equal(labels, LABELS[place : place + 1])
        assert path.read_text().splitlines() == lines
        log.on_train_batch_end(99)
        lines.append(f"{4 + (place + 1) // 3} {(place + 1) % 3} {digest(place)}")
    assert path.read_text().splitlines() == lines and len(lines) == 8


def test_the_file_is_open_only_while_a_line_is_written(tmp_path):
    path = tmp_path / "log"
    log = BatchLog(path, steps=1)
    batches = log.recorded(tf.data.Dataset.from_tensor_slices((PATCHES, LABELS)).batch(1), epoch=0, step=0)
    for place, _ in enumerate(batches):
        # One that was open still would be written to under its other name.
        path.rename(tmp_path / f"until_{place}")
        log.on_train_batch_end(0)
        assert path.read_text() == f"{place} 0 {digest(place)}\n"


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=f"^--log_batches={tmp_path}/no/log cannot be written: No such file"):
        BatchLog(tmp_path / "no" / "log", steps=3)
