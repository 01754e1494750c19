"""Labelled audio -> sharded TFRecords of log-mel spectrograms, as an Apache Beam job.

Everything is imported when it is first used; only `run` needs Beam.
"""

import sys
from typing import TYPE_CHECKING

from tfrecords.common import exports, shutdown

if TYPE_CHECKING:
    from beam_preprocess.audio.front_end import FrontEnd, FrontEndConfig
    from beam_preprocess.audio.rejects import Reject
    from beam_preprocess.config import JobConfig, SplitConfig
    from beam_preprocess.job import run
    from beam_preprocess.synthesize import synthesize_dataset

__all__ = ["FrontEnd", "FrontEndConfig", "JobConfig", "Reject", "SplitConfig", "run", "synthesize_dataset"]

# As in tfrecords/__init__.py: before a command's own imports.
if sys.argv[:1] == ["-m"]:
    shutdown.install()

__getattr__ = exports.lazy(
    __name__,
    {
        "FrontEnd": "beam_preprocess.audio.front_end",
        "FrontEndConfig": "beam_preprocess.audio.front_end",
        "JobConfig": "beam_preprocess.config",
        "Reject": "beam_preprocess.audio.rejects",
        "SplitConfig": "beam_preprocess.config",
        "run": "beam_preprocess.job",
        "synthesize_dataset": "beam_preprocess.synthesize",
    },
)
