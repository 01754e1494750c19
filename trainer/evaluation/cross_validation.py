"""A cross-validation: which trainings it consists of, and where each has its directory."""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfrecords.common import files, json_data
from tfrecords.common.command_line import UserError
from tfrecords.common.files import write_text
from trainer import models, settings, training_job
from trainer.config import TrainConfig
from trainer.evaluation.saved_predictions import PREDICTIONS_FILE

CROSS_VALIDATION_FILE = "cross_validation.json"
POOLED_FILE = PREDICTIONS_FILE
RESULTS_FILE = "results.json"
TABLE_FILE = "results.md"
REPORT_FILE = training_job.REPORT_FILE
# Each is a training.
_MAX_FOLDS = 100_000
_OUTCOMES = (REPORT_FILE, TABLE_FILE, RESULTS_FILE, POOLED_FILE)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of a cross-validation.

    Attributes:
      model: one of trainer.models.MODELS.
      seed: of the training.
      fold: the one that it is tested on; the others train, but for the one before it where that chooses the epoch.
    """

    model: str
    seed: int
    fold: int

    def __str__(self) -> str:
        return f"{self.model}, seed {self.seed}, fold {self.fold}"

    def job_dir(self, cv_dir: Path) -> Path:
        """An ordinary job directory, for every command that takes one."""
        return cv_dir / self.model / f"seed_{self.seed}" / f"fold_{self.fold}"


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What was asked for.

    Attributes:
      data_dir: of the dataset.
      fingerprint: of the dataset.
      models: some of trainer.models.MODELS.
      seeds: each model is trained from each.
      folds: how many the dataset has; each is tested on once for every model and seed.
      flags: of the training, name -> value.
      command: that asked for it.
    """

    data_dir: str
    fingerprint: str
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: int
    flags: Mapping[str, Any]
    command: str

    def __post_init__(self) -> None:
        for name in self.models:
            models.check_name(name)
        for name in ("models", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < max(1, len(values)):
                raise ValueError(f"{name} must be different ones, at least one, got {values}")
        if not 2 <= self.folds <= _MAX_FOLDS:
            raise ValueError(f"folds must be from 2 to {_MAX_FOLDS}, got {self.folds}")

    def runs(self) -> list[Run]:
        """Every training, in a fixed order."""
        return [Run(*place) for place in itertools.product(self.models, self.seeds, range(self.folds))]

    def save(self, cv_dir: Path) -> None:
        """Writes cross_validation.json, whole or not at all."""
        write_text(cv_dir / CROSS_VALIDATION_FILE, json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, cv_dir: Path) -> "CrossValidation":
        """Reads cross_validation.json.

        Raises:
          UserError: it cannot be read, is damaged, or has a model that this version no longer has.
        """
        path = cv_dir / CROSS_VALIDATION_FILE
        try:
            data = json_data.parse(files.read_text(path))
            if isinstance(data, dict) and isinstance(data.get("models"), list):
                models.check_saved(data["models"], path)
            return json_data.build(cls, data)
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UserError(f"{path}: not a cross-validation ({error}); `overwrite` starts over") from None

    def check_continues(self, earlier: "CrossValidation", cv_dir: Path) -> None:
        """Raises UserError unless this is an earlier one, or that with more models or seeds."""
        fields = ("fingerprint", "folds", "flags")
        others = {name: value for field in fields for name, value in _flat(field, getattr(earlier, field)).items()}
        own = {name: value for field in fields for name, value in _flat(field, getattr(self, field)).items()}
        phrases = [
            f"other {name}" if name == "fingerprint" else f"{name} {others.get(name)}, not {own.get(name)}"
            for name in sorted(others.keys() | own.keys())
            if parsed_flag(name, others.get(name)) != parsed_flag(name, own.get(name))
        ]
        phrases += [
            f"also the {name} {', '.join(map(str, left_out))}"
            for name in ("models", "seeds")
            if (left_out := [value for value in getattr(earlier, name) if value not in getattr(self, name)])
        ]
        if phrases:
            raise UserError(
                f"{cv_dir} holds a cross-validation that differs: {'; '.join(phrases)}; "
                "go on with its settings, choose another `job_dir`, or `overwrite` it"
            )


def _flat(name: str, value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {name: value}


def parsed_flag(name: str, value: Any) -> Any:
    """Return a flag's meaning, where that can be written in several ways; without a value, the setting's default."""
    return settings.flag_meaning(TrainConfig, name, value)


def load_results(cv_dir: Path) -> dict[str, Any]:
    """Reads results.json.

    Raises:
      UserError: there is none, or it is damaged.
    """
    try:
        return json_data.parse(files.read_text(cv_dir / RESULTS_FILE))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{cv_dir}: no {RESULTS_FILE}, so no finished cross-validation; run trainer.cross_validate"
        ) from None
    except OSError as error:
        raise UserError(f"{cv_dir / RESULTS_FILE} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise damaged_results(cv_dir, error) from None


def damaged_results(cv_dir: Path, error: ValueError) -> UserError:
    """The error to raise where results.json is not what a cross-validation has written."""
    return UserError(f"{cv_dir / RESULTS_FILE}: not the results of a cross-validation ({error}); cross-validate again")


def check_own_files(cv_dir: Path) -> None:
    """Raises UserError where results lie beside no cross-validation: they are something else's."""
    if (cv_dir / CROSS_VALIDATION_FILE).exists():
        return
    if others := [name for name in _OUTCOMES if (cv_dir / name).exists()]:
        raise UserError(
            f"{cv_dir} holds {', '.join(others)}, but no {CROSS_VALIDATION_FILE}, so not of a cross-validation; "
            "choose another `job_dir`, or move them away"
        )


def clear(cv_dir: Path) -> None:
    """Removes a cross-validation, and nothing else that its directory may hold (see `check_own_files`).

    Raises:
      UserError: something cannot be removed.
    """
    try:
        for job_dir in _job_dirs(cv_dir):
            shutil.rmtree(job_dir)
        # Last: what has it can be cleared again.
        for name in (*_OUTCOMES, CROSS_VALIDATION_FILE):
            (cv_dir / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be removed: {error.strerror}") from None


def _job_dirs(cv_dir: Path) -> Iterator[Path]:
    for path in cv_dir.glob("*/seed_*/fold_*"):
        # Another name is that of a model which this version no longer has.
        if path.parents[1].name in models.MODELS or (path / training_job.CONFIG_FILE).exists():
            yield path
