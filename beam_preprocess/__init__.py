"""Labelled audio -> sharded TFRecords of log-mel spectrograms, as an Apache Beam job."""

import sys

from tfrecords.common import shutdown

# As in tfrecords/__init__.py: before a command's own imports.
if sys.argv[:1] == ["-m"]:
    shutdown.install()
