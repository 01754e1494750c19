"""Datasets of log-mel spectrograms as TFRecords: what a record is, how shards are written, verified and read.

Everything is imported when it is first used. TensorFlow is needed only to read batches (`load`, `Dataset.batches`), so
a worker that writes records starts without it; and a command handles signals before any slow import.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from tfrecords.common import shutdown

if TYPE_CHECKING:
    from tfrecords.dataset import Dataset
    from tfrecords.manifest import Manifest
    from tfrecords.reader import load

__all__ = ["Dataset", "Manifest", "load"]

_MODULES = {"Dataset": "tfrecords.dataset", "Manifest": "tfrecords.manifest", "load": "tfrecords.reader"}

# True while Python looks for the module of `python -m tfrecords`, before it imports anything else. A program that
# imports the package as a library keeps its own signal handlers.
if sys.argv[:1] == ["-m"]:
    shutdown.install()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
