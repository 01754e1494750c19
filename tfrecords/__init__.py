"""Datasets of log-mel spectrograms as TFRecords: what a record is, how shards are written, verified and read.

Everything is imported when it is first used. TensorFlow is needed only to read batches (`load`, `Dataset.batches`), so
a worker that writes records starts without it; and a command handles signals before any slow import.
"""

import sys
from typing import TYPE_CHECKING

from tfrecords.common import exports, shutdown

if TYPE_CHECKING:
    from tfrecords.augmentation import Augmentation
    from tfrecords.common.command_line import UserError
    from tfrecords.dataset import Dataset
    from tfrecords.manifest import BandStatistics, Manifest
    from tfrecords.reader import load
    from tfrecords.schema import Record

__all__ = ["Augmentation", "BandStatistics", "Dataset", "Manifest", "Record", "UserError", "load"]

# True while Python looks for the module of `python -m tfrecords`, before it imports anything else. A program that
# imports the package as a library keeps its own signal handlers.
if sys.argv[:1] == ["-m"]:
    shutdown.install()

__getattr__ = exports.lazy(
    __name__,
    {
        "Augmentation": "tfrecords.augmentation",
        "BandStatistics": "tfrecords.manifest",
        "Dataset": "tfrecords.dataset",
        "Manifest": "tfrecords.manifest",
        "Record": "tfrecords.schema",
        "UserError": "tfrecords.common.command_line",
        "load": "tfrecords.reader",
    },
)
