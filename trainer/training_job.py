"""A job directory: what was asked, and the files that training and evaluation leave in it."""

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.command_line import UserError
from tfrecords.statistics import BandStatistics
from trainer import models
from trainer.parts import PartChoice

CONFIG_FILE = "config.json"
CHECKPOINT_FILE = "best.keras"
HISTORY_FILE = "history.csv"
LOGS_DIR = "logs"
METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """Everything that decides a training run, and what is needed to use its model.

    Attributes:
      data_dir: of the dataset.
      fingerprint: of the dataset.
      model: one of trainer.models.MODELS.
      parts: for training, validation and test.
      labels: label names; the model's outputs, in order.
      front_end: configuration of the front end, as in the manifest.
      statistics: of the training parts' log-mel; patches are normalised by them before the model sees them.
      patch_frames: frames in a patch.
      batch_size: patches in a step.
      learning_rate: at the start.
      epochs: at most.
      patience: epochs without a better validation loss before training stops.
      seed: of weights, dropout and order; from 0 to 2^32 - 1.
      versions: of the libraries.
    """

    data_dir: str
    fingerprint: str
    model: str
    parts: PartChoice
    labels: tuple[str, ...]
    front_end: Mapping[str, Any]
    statistics: BandStatistics
    patch_frames: int
    batch_size: int
    learning_rate: float
    epochs: int
    patience: int
    seed: int
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        models.check_name(self.model)
        for name in ("patch_frames", "batch_size", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UserError(f"--learning_rate must be above 0, got {self.learning_rate}")
        if not 0 <= self.seed < 1 << 32:
            raise UserError(f"--seed must be from 0 to {(1 << 32) - 1}, got {self.seed}")

    def save(self, job_dir: Path) -> None:
        """Writes config.json, whole or not at all."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data |= {"parts": dataclasses.asdict(self.parts), "statistics": self.statistics.to_json()}
        write_text(job_dir / CONFIG_FILE, json.dumps(data, indent=1) + "\n")

    @classmethod
    def load(cls, job_dir: Path) -> "TrainingJob":
        """Reads config.json.

        Raises:
          UserError: the directory holds no job, or a damaged one.
        """
        path = job_dir / CONFIG_FILE
        try:
            data = json.loads(path.read_text("utf-8"))
            data["parts"] = PartChoice(**{role: tuple(names) for role, names in data["parts"].items()})
            data["labels"] = tuple(data["labels"])
            data["statistics"] = BandStatistics.from_json(data["statistics"])
            return cls(**data)
        except OSError:
            raise UserError(
                f"{job_dir}: no {CONFIG_FILE}, so no trained model; make one with python -m trainer.train --job_dir=..."
            ) from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not a training job's configuration ({error}); train again") from None


def write_text(path: Path, text: str) -> None:
    """Writes a file under a temporary name, then renames it.

    Raises:
      UserError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def read_history(job_dir: Path) -> dict[str, list[float]]:
    """Metric name -> value per epoch, as training logged them; empty when it has not finished an epoch.

    Raises:
      UserError: the file is damaged.
    """
    path = job_dir / HISTORY_FILE
    if not path.is_file():
        return {}
    try:
        # A line without an end is one that was still being written when training was stopped.
        whole = path.read_bytes().decode("utf-8").rpartition("\n")[0]
        rows = list(csv.DictReader(whole.splitlines(), strict=True))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not the history of a training ({error}); train again") from None
