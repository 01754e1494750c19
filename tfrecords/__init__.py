"""What one record is, how shards of records are written, found, checked, and read as tf.data.

Only `load` needs TensorFlow, so it is imported when it is first asked for: a worker that writes records starts
without it.
"""

from typing import TYPE_CHECKING, Any

from tfrecords.manifest import Manifest

if TYPE_CHECKING:
    from tfrecords.dataset import load

__all__ = ["Manifest", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from tfrecords.dataset import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
