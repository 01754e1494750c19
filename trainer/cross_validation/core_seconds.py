"""What a training costs: its seconds times the threads that it was given, so that one of many at a time is comparable.

Nothing is said where the time is not known; it is never told too short.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from trainer.scoring.saved_predictions import PREDICTIONS_FILE, FoldPredictions


def core_seconds(seconds: float, *, went_on: bool, parents: Iterable[Path]) -> float | None:
    """The core seconds from nothing to the model, in the process that has just trained it.

    Args:
      seconds: that the training took.
      went_on: whether it had been interrupted; the time until then is not known.
      parents: job directories of the runs that its filters come from, whose trainings are part of its own.

    Returns:
      Core seconds; None where a part of them was not measured, or others than TensorFlow's threads compute.
    """
    threads = _threads()
    if went_on or threads is None:
        return None
    total = seconds * threads
    for job_dir in parents:
        of_parent = FoldPredictions.load(job_dir / PREDICTIONS_FILE).core_seconds
        if of_parent is None:
            return None
        total += of_parent
    return total


def _threads() -> int | None:
    """As many as compute the steps; None where these are not TensorFlow's on a CPU."""
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow" or tf.config.list_physical_devices("GPU"):
        return None
    # 0: not set, so all cores.
    return tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()
