"""The predictions of a fold's test tracks in one file, as a run of a cross-validation leaves them."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfrecords import schema
from tfrecords.common.command_line import UserError
from trainer import npz
from trainer.evaluation.metrics import Predictions

PREDICTIONS_FILE = "predictions.npz"
# Not "core_seconds", under which earlier versions saved seconds times threads.
_CORE_SECONDS = "process_core_seconds"


@dataclasses.dataclass(frozen=True, eq=False)
class FoldPredictions:
    """What a trained model said about the tracks of its test fold.

    Attributes:
      predictions: of every patch.
      parameters: of the model.
      epochs: that were trained.
      best_epoch: the one whose weights made the predictions, from 1.
      core_seconds: of processor time that training took, with that of its parents; None: not measured, as in files
        that were saved before it was, or where training was interrupted.
    """

    predictions: Predictions
    parameters: int
    epochs: int
    best_epoch: int
    core_seconds: float | None = None

    def save(self, path: Path) -> None:
        """Writes them, whole or not at all.

        Raises:
          UserError: they cannot be written.
        """
        own = self.predictions
        numbers = {track_id: number for number, track_id in enumerate(dict.fromkeys(own.track_ids))}
        arrays = {
            "probabilities": own.probabilities,
            "labels": own.labels,
            "track_ids": to_bytes(numbers),
            "patch_tracks": np.array([numbers[track_id] for track_id in own.track_ids], np.int32),
            "label_names": to_bytes(own.label_names),
        }
        counts = {name: np.array(getattr(self, name), np.int64) for name in ("parameters", "epochs", "best_epoch")}
        measured = {} if self.core_seconds is None else {_CORE_SECONDS: np.array(self.core_seconds, np.float64)}
        npz.save(path, arrays | counts | measured)

    @classmethod
    def load(cls, path: Path) -> "FoldPredictions":
        """Reads them.

        Raises:
          UserError: the file is not there or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                track_ids = to_texts(arrays["track_ids"])
                predictions = Predictions(
                    probabilities=arrays["probabilities"],
                    labels=arrays["labels"],
                    track_ids=[track_ids[number] for number in arrays["patch_tracks"]],
                    label_names=to_texts(arrays["label_names"]),
                )
                numbers = {name: int(arrays[name]) for name in ("parameters", "epochs", "best_epoch")}
                core_seconds = float(arrays[_CORE_SECONDS]) if _CORE_SECONDS in arrays else None
        except npz.DAMAGED as error:
            raise UserError(
                f"{path}: not the predictions of a fold ({error}); delete it, and they are made again"
            ) from None
        return cls(predictions, **numbers, core_seconds=core_seconds)


def to_bytes(texts: Iterable[str]) -> np.ndarray:
    """Texts as an array of UTF-8; names of files that are no UTF-8 keep their bytes."""
    return np.array([schema.to_bytes(text) for text in texts], np.bytes_)


def to_texts(array: np.ndarray) -> tuple[str, ...]:
    """Inverse of `to_bytes`."""
    return tuple(schema.to_text(data) for data in array.tolist())
