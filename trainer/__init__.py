"""Shards -> trained model, evaluation, report. Keras and tf.data; never Beam.

Everything is imported when it is first used. The commands are modules: `python -m trainer` lists them.
"""

import sys
from typing import TYPE_CHECKING

from tfrecords.common import exports, shutdown

if TYPE_CHECKING:
    from trainer.config import TrainConfig
    from trainer.serving.recognizer import Recognizer
    from trainer.train import new_job
    from trainer.training.run_options import RunOptions
    from trainer.training_job import TrainingJob

__all__ = ["Recognizer", "RunOptions", "TrainConfig", "TrainingJob", "new_job"]

# As in tfrecords/__init__.py: before a command's own imports.
if sys.argv[:1] == ["-m"]:
    shutdown.install()

__getattr__ = exports.lazy(
    __name__,
    {
        "Recognizer": "trainer.serving.recognizer",
        "RunOptions": "trainer.training.run_options",
        "TrainConfig": "trainer.config",
        "TrainingJob": "trainer.training_job",
        "new_job": "trainer.train",
    },
)
