"""A collection of audio -> the genre of each track, as an Apache Beam job that writes sharded Parquet.

Everything is imported when it is first used; only `run` needs Beam, and only its workers TensorFlow.
"""

import sys
from typing import TYPE_CHECKING

from tfrecords.common import exports, shutdown

if TYPE_CHECKING:
    from beam_predict.config import PredictConfig
    from beam_predict.job import run

__all__ = ["PredictConfig", "run"]

# As in tfrecords/__init__.py: before a command's own imports.
if sys.argv[:1] == ["-m"]:
    shutdown.install()

__getattr__ = exports.lazy(__name__, {"PredictConfig": "beam_predict.config", "run": "beam_predict.job"})
