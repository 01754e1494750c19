"""What one record is, how shards of records are written, found, checked, and read as tf.data.

Only reading as tf.data needs TensorFlow, so it is imported when `load` is first asked for: a worker that
writes records starts without it. The rest needs NumPy, and comes when it is asked for as well: a command handles
signals before it imports anything that takes time.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from tfrecords.common import shutdown

if TYPE_CHECKING:
    from tfrecords.manifest import Manifest
    from tfrecords.reader import load

__all__ = ["Manifest", "load"]

_MODULES = {"Manifest": "tfrecords.manifest", "load": "tfrecords.reader"}

# So while Python looks for the module of `python -m tfrecords`, before that imports anything; where the package is
# imported as a library, the program has its own name there, and its own handlers.
if sys.argv[:1] == ["-m"]:
    shutdown.install()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
