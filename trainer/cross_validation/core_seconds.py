"""What a training costs: the processor time of its process, all threads together (user and system).

Nothing is said where it is not known, or where something else than the processor computes; it is never told too short.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from trainer.scoring.saved_predictions import PREDICTIONS_FILE, FoldPredictions


class CoreSeconds:
    """Counts from its making on, in the process that trains; a process trains one model at a time."""

    def __init__(self) -> None:
        self._began = time.process_time()

    def taken(self, *, went_on: bool, parents: Iterable[Path]) -> float | None:
        """The core seconds from nothing to the model that has just been trained.

        Args:
          went_on: whether the training had been interrupted; the time until then is not known.
          parents: job directories of the runs that its filters come from, whose trainings are part of its own.

        Returns:
          Core seconds; None where a part of them was not measured, or a GPU computes.
        """
        total = time.process_time() - self._began
        if went_on or not _on_cpu():
            return None
        for job_dir in parents:
            of_parent = FoldPredictions.load(job_dir / PREDICTIONS_FILE).core_seconds
            if of_parent is None:
                return None
            total += of_parent
        return total


def _on_cpu() -> bool:
    import keras
    import tensorflow as tf

    return keras.backend.backend() == "tensorflow" and not tf.config.list_physical_devices("GPU")
