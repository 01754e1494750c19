"""What one record is, how shards of records are written, found, checked, and read as tf.data.

Only reading as tf.data needs TensorFlow, so it is imported when `load` or `mix` is first asked for: a worker that
writes records starts without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tfrecords.manifest import Manifest
from tfrecords.options import ReaderOptions

if TYPE_CHECKING:
    from tfrecords.dataset import load
    from tfrecords.mixing import mix

__all__ = ["Manifest", "ReaderOptions", "load", "mix"]

_MODULES = {"load": "tfrecords.dataset", "mix": "tfrecords.mixing"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
