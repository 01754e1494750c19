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
    """A trained model's predictions for the tracks of its test fold, and what the training was.

    Attributes:
      predictions: for every patch.
      parameters: how many the model has.
      epochs: how many were trained.
      best_epoch: the epoch, from 1, whose weights made the predictions.
      core_seconds: processor time that training took, with that of its parents; None where it was not measured, as in
        files of earlier versions, or where training was interrupted.
    """

    predictions: Predictions
    parameters: int
    epochs: int
    best_epoch: int
    core_seconds: float | None = None

    def save(self, path: Path) -> None:
        """Write them to a file, whole or not at all.

        Raises:
          UserError: they cannot be written.
        """
        predictions = self.predictions
        numbers = {track_id: number for number, track_id in enumerate(dict.fromkeys(predictions.track_ids))}
        arrays = {
            "probabilities": predictions.probabilities,
            "labels": predictions.labels,
            "track_ids": to_bytes(numbers),
            "patch_tracks": np.array([numbers[track_id] for track_id in predictions.track_ids], np.int32),
            "label_names": to_bytes(predictions.label_names),
        }
        counts = {name: np.array(getattr(self, name), np.int64) for name in ("parameters", "epochs", "best_epoch")}
        measured = {} if self.core_seconds is None else {_CORE_SECONDS: np.array(self.core_seconds, np.float64)}
        distances = predictions.distances
        far = {} if distances is None else {"distances": np.array([distances[name] for name in numbers], np.float64)}
        npz.save(path, arrays | counts | measured | far)

    @classmethod
    def load(cls, path: Path) -> "FoldPredictions":
        """Read them from a file.

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
                    # Files of earlier versions have none.
                    distances=dict(zip(track_ids, arrays["distances"].tolist(), strict=True))
                    if "distances" in arrays
                    else None,
                )
                numbers = {name: int(arrays[name]) for name in ("parameters", "epochs", "best_epoch")}
                core_seconds = float(arrays[_CORE_SECONDS]) if _CORE_SECONDS in arrays else None
        except npz.DAMAGED as error:
            raise UserError(
                f"{path}: not the predictions of a fold ({error}); delete it, and they are made again"
            ) from None
        return cls(predictions, **numbers, core_seconds=core_seconds)


def to_bytes(texts: Iterable[str]) -> np.ndarray:
    """Return texts as an array of UTF-8; names of files that are not UTF-8 keep their bytes."""
    return np.array([schema.to_bytes(text) for text in texts], np.bytes_)


def to_texts(array: np.ndarray) -> tuple[str, ...]:
    """Return the texts of an array that `to_bytes` made."""
    return tuple(schema.to_text(data) for data in array.tolist())
