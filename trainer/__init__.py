"""Shards -> trained model, evaluation, report. Keras and tf.data; never Beam.

Commands: train, evaluate, cross_validate, compare, predict, listen, export. Everything else is a library.
"""

import sys

from tfrecords.common import shutdown

# As in tfrecords/__init__.py: before a command's own imports.
if sys.argv[:1] == ["-m"]:
    shutdown.install()
