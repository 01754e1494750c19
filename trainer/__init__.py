"""Shards -> trained model, evaluation, report. Keras and tf.data; never Beam."""

import sys

from tfrecords.common import shutdown

# As in tfrecords/__init__.py: before a command's own imports.
if sys.argv[:1] == ["-m"]:
    shutdown.install()
