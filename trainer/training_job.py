"""A job directory: what was asked, and the files that training and evaluation leave in it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords import files, json_data
from tfrecords.augmentation import Augmentation
from tfrecords.command_line import UserError
from tfrecords.statistics import BandStatistics
from trainer import models
from trainer.distribution import precision
from trainer.parts import PartChoice
from trainer.training import recipes
from trainer.training.parents import Parents
from trainer.training.recipes import History, Recipe

if TYPE_CHECKING:
    import keras

CONFIG_FILE = "config.json"
CHECKPOINT_FILE = "best.keras"
LOGS_DIR = "logs"
RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
# Where the data lie and what reads them change no training; the statistics follow from fingerprint and parts.
_NOT_COMPARED = ("data_dir", "versions", "statistics")


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """Everything that decides a training run, and what is needed to use its model.

    Attributes:
      data_dir: of the dataset.
      fingerprint: of the dataset.
      model: one of trainer.models.MODELS.
      parts: for training, validation and test; none for validation where the recipe keeps the last epoch.
      labels: label names; the model's outputs, in order.
      front_end: configuration of the front end, as in the manifest.
      statistics: of the training parts' log-mel; patches are normalised by them before the model sees them.
      patch_frames: frames in a patch.
      batch_size: patches in a step.
      learning_rate: at the start.
      epochs: at most.
      patience: epochs without a better one before training stops; None where the recipe has another rule.
      seed: of weights, dropout and order; from 0 to 2^32 - 1.
      versions: of the libraries.
      augmentation: how the training batches are varied.
      recipe: one of trainer.training.recipes.RECIPES.
      model_options: of the model, such as filter sizes; see its file.
      init_from: trained jobs whose filters a job of time_frequency_init starts from; None: it trains them itself,
        with its own settings, in the directories `time` and `frequency` of its own.
      precision: one of trainer.distribution.precision.PRECISIONS.
      warmup, label_smoothing, weight_average, patch_mode: as trainer.training.recipes.Recipe has them.
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
    patience: int | None
    seed: int
    versions: Mapping[str, str]
    augmentation: Augmentation = Augmentation()  # noqa: RUF009 - frozen
    recipe: str = "modern"
    model_options: Mapping[str, int] = dataclasses.field(default_factory=dict)
    init_from: Parents | None = None
    precision: str = precision.FLOAT32
    warmup: float = 0.0
    label_smoothing: float = 0.0
    weight_average: float = 0.0
    patch_mode: str = recipes.WINDOWS

    def __post_init__(self) -> None:
        models.check_name(self.model)
        precision.check_name(self.precision)
        self._check_recipe()
        for name in ("patch_frames", "batch_size", "epochs", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} must be at least 1, got {value}")
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UserError(f"--learning_rate must be above 0, got {self.learning_rate}")
        for name in ("warmup", "label_smoothing", "weight_average"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name} must be from 0 to below 1, got {getattr(self, name)}")
        if self.patch_mode not in recipes.PATCH_MODES:
            raise UserError(f"--patch_mode must be one of {', '.join(recipes.PATCH_MODES)}, got {self.patch_mode!r}")
        if not 0 <= self.seed < 1 << 32:
            raise UserError(f"--seed must be from 0 to {(1 << 32) - 1}, got {self.seed}")
        if len(set(self.labels)) < max(2, len(self.labels)):
            raise UserError(f"the labels must be different ones, at least two, got {', '.join(self.labels)}")
        if (bands := len(self.statistics.mean)) != self.front_end.get("n_mels"):
            raise UserError(f"the statistics have {bands} bands, the front end {self.front_end.get('n_mels')}")
        if self.init_from is not None and self.model != models.WITH_PARENTS:
            raise UserError(f"--init_from is for --model={models.WITH_PARENTS}, got --model={self.model}")

    def _check_recipe(self) -> None:
        """Raises UserError where a number has no meaning in the recipe, or one is missing."""
        rules = self.rules
        by_loss = "ends training by the training loss" if rules.rises else "keeps its last epoch"
        if self.patience is not None and rules.patience is None:
            raise UserError(
                f"--patience does not apply to --recipe={self.recipe}, which {by_loss}; got {self.patience}"
            )
        if self.patience is None and rules.patience is not None:
            raise UserError(f"--recipe={self.recipe} needs a --patience")
        if self.warmup and rules.rises:
            raise UserError(
                f"--warmup does not apply to --recipe={self.recipe}, whose rate only falls; got {self.warmup}"
            )
        if rules.kept_by is not None and not self.parts.valid:
            raise UserError(f"--recipe={self.recipe} needs a part for validation, which chooses its epoch")

    @property
    def soft_labels(self) -> bool:
        """Whether training and its loss take labels as shares, [batch, labels] float32, instead of [batch] int32."""
        return self.augmentation.soft_labels or self.label_smoothing > 0

    @property
    def described(self) -> str:
        """How it is trained in words, for a report."""
        names = ("learning_rate", "batch_size", "epochs", "patience")
        more = ("warmup", "label_smoothing", "weight_average", "patch_mode")
        return self.rules.described(**{name: getattr(self, name) for name in (*names, *more)})

    @property
    def rules(self) -> Recipe:
        """Its recipe."""
        return recipes.get(self.recipe)

    def check_shapes(self, model: "keras.Model") -> None:
        """Raises UserError when a model's input or output is not what this configuration says."""
        expected = [(None, self.patch_frames, self.front_end["n_mels"], 1)], [(None, len(self.labels))]
        found = [tensor.shape for tensor in model.inputs], [tensor.shape for tensor in model.outputs]
        if found != expected:
            has, says = (" to ".join(str(shapes)[1:-1] for shapes in both) for both in (found, expected))
            raise UserError(f"the model maps {has}, its job's configuration says {says}; train again")

    def is_done(self, history: History) -> bool:
        """Whether training ends with the last of the epochs that are finished."""
        return self.rules.is_done(history, epochs=self.epochs, patience=self.patience)

    def save(self, job_dir: Path) -> None:
        """Writes config.json, whole or not at all."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        nested = ("parts", "augmentation", "init_from")
        data |= {name: dataclasses.asdict(data[name]) for name in nested if data[name] is not None}
        data["statistics"] = self.statistics.to_json()
        files.write_text(job_dir / CONFIG_FILE, json.dumps(data, indent=1) + "\n")

    @classmethod
    def load(cls, job_dir: Path) -> "TrainingJob":
        """Reads config.json.

        Raises:
          UserError: the directory holds no job, a damaged one, or one of a model that this version has not.
        """
        path = job_dir / CONFIG_FILE
        try:
            data = json_data.parse(files.read_text(path))
            if isinstance(data, dict):
                models.check_saved([data.get("model")], path)
            return json_data.build(cls, data)
        except UserError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{job_dir}: no {CONFIG_FILE}, so no trained model; make one with python -m trainer.train --job_dir=..."
            ) from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UserError(f"{path}: not a training job's configuration ({error}); train again") from None

    def differences(self, other: "TrainingJob") -> list[str]:
        """What makes another job's training a different one, a phrase for each."""
        phrases = []
        for field in dataclasses.fields(self):
            own, others = getattr(self, field.name), getattr(other, field.name)
            if field.name not in _NOT_COMPARED and own != others:
                brief = isinstance(own, str | int | float) and field.name != "fingerprint"
                phrases.append(f"{field.name} {own}, not {others}" if brief else f"other {field.name}")
        return phrases
