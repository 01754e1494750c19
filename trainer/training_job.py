"""A job directory: what was trained, on which parts of which dataset, and the files that training leaves there."""

import contextlib
import csv
import dataclasses
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrecords.common import files, json_data
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics, Manifest
from trainer import models
from trainer.config import RESIZE, WINDOWS, TrainConfig
from trainer.training.schedules import History

if TYPE_CHECKING:
    import keras

CONFIG_FILE = "config.json"
CHECKPOINT_FILE = "best.keras"
HISTORY_FILE = "history.csv"
LOGS_DIR = "logs"
RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
# Where the data lie and what reads them change no training; the statistics follow from fingerprint and parts.
_NOT_COMPARED = ("data_dir", "versions", "statistics")
# Settings that every version has written; without a later one, a file means that setting's default.
_ALWAYS_SAVED = ("model", "patch_frames", "batch_size", "learning_rate", "epochs", "patience", "seed")


@dataclasses.dataclass(frozen=True)
class PartChoice:
    """Three unions of parts that share none.

    Attributes:
      train: for the weights and the normalisation.
      valid: for stopping and choosing among epochs; none where there is no such choice.
      test: for the reported score only.
    """

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]


def choose_parts(
    manifest: Manifest, *, test_fold: int | None = None, valid_fold: int | None = None, validates: bool = True
) -> PartChoice:
    """Choose the parts to train, validate and test on: those so named, or folds, by default the last to test on.

    The fold before it validates, unless valid_fold names another.

    Args:
      manifest: of the dataset.
      test_fold: number of the fold that tests.
      valid_fold: number of the one that validates.
      validates: whether to validate if there is no valid_fold; if not, that part trains too.

    Raises:
      UserError: parts of other names, fewer than three folds, a fold that is not there, the same fold twice.
    """
    names = tuple(manifest.parts)
    if _are_folds(names):
        return _choose_folds(names, test_fold, valid_fold, validates or valid_fold is not None)
    # Parts of other names have no order that tells their roles: a guess could train on what was meant for the test.
    without_valid = set(names) == {"train", "test"}
    if not {"train", "valid", "test"} <= set(names) and (validates or not without_valid):
        without = ", or take `recipe=augmented`, which needs no valid" if without_valid else ""
        raise UserError(
            f"training needs folds, or the parts train, valid and test; the dataset has {', '.join(names)}; "
            f"name the lists train.txt, valid.txt, test.txt{without}"
        )
    if test_fold is not None or valid_fold is not None:
        given = "valid_fold" if test_fold is None else "test_fold"
        raise UserError(f"`{given}` needs a dataset of folds; this one has {', '.join(names)}")
    if without_valid:
        return PartChoice(("train",), (), ("test",))
    return PartChoice(("train",), ("valid",), ("test",)) if validates else PartChoice(("train", "valid"), (), ("test",))


def count_folds(manifest: Manifest) -> int:
    """How many folds a dataset consists of.

    Raises:
      UserError: it has parts of other names.
    """
    if not _are_folds(tuple(manifest.parts)):
        raise UserError(
            f"cross-validation needs a dataset of folds; this one has {', '.join(manifest.parts)}; write it with "
            "beam_preprocess and `folds=10`"
        )
    return len(manifest.parts)


def _are_folds(names: tuple[str, ...]) -> bool:
    return all(re.fullmatch("fold_[0-9]+", name) for name in names)


def _choose_folds(names: tuple[str, ...], test_fold: int | None, valid_fold: int | None, validates: bool) -> PartChoice:
    if len(names) < 2 + validates:
        least = "three folds or more" if validates else "two folds or more"
        raise UserError(f"training needs {least}; the dataset has {', '.join(names)}")
    test = len(names) - 1 if test_fold is None else test_fold
    valid = (test - 1) % len(names) if valid_fold is None else valid_fold
    for name, fold in (("test_fold", test), ("valid_fold", valid)):
        if not 0 <= fold < len(names):
            raise UserError(f"`{name}` must be from 0 to {len(names) - 1}, got {fold}")
    if test == valid:
        raise UserError(f"`test_fold` must differ from `valid_fold`, both are {test}")
    held = (test, valid) if validates else (test,)
    train = tuple(name for index, name in enumerate(names) if index not in held)
    return PartChoice(train, (names[valid],) if validates else (), (names[test],))


def count_patches(manifest: Manifest, parts: Sequence[str], *, patch_frames: int, patch_mode: str = WINDOWS) -> int:
    """Return how many patches the parts of a dataset give in an epoch."""
    if patch_mode == RESIZE:
        return sum(sum(manifest.parts[part].record_frames.values()) for part in manifest.select(parts))
    return manifest.num_patches(parts, patch_frames=patch_frames, patch_hop=patch_frames)


def check_patches(
    manifest: Manifest, parts: Sequence[str], role: str, *, patch_frames: int, patch_mode: str = WINDOWS
) -> None:
    """Raise UserError where parts hold no patch to do their role with."""
    if not count_patches(manifest, parts, patch_frames=patch_frames, patch_mode=patch_mode):
        record = "record" if patch_mode == RESIZE else f"record of {patch_frames} frames"
        raise UserError(
            f"{', '.join(parts)} should be for {role} but hold no {record}; "
            "lower `patch_frames`, or write the dataset with fewer `folds` or more tracks"
        )


@dataclasses.dataclass(frozen=True)
class Parents:
    """A job of the model `time` and one of `frequency`; equal when their weights are, wherever they lie.

    `trainer.training.init_filters.parents_of` makes them.

    Attributes:
      time_dir: directory of the first job.
      frequency_dir: of the second.
      fingerprint: SHA-256 of both models' weights. A job is another one when its filters start from other weights.
    """

    time_dir: str = dataclasses.field(compare=False)
    frequency_dir: str = dataclasses.field(compare=False)
    fingerprint: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingJob(TrainConfig):
    """A training: its configuration, its dataset, and what is needed to use its model.

    Attributes:
      data_dir: of the dataset.
      fingerprint: of the dataset.
      parts: for training, validation and test; none for validation where the recipe keeps the last epoch.
      labels: label names; the model's outputs, in order.
      front_end: configuration of the front end, as in the manifest.
      statistics: of the training parts' log-mel; patches are normalised by them before the model sees them.
      versions: of the libraries.
      init_from: trained jobs whose filters a job of time_frequency_init starts from; None: it trains them itself,
        with its own settings, in the directories `time` and `frequency` of its own.

    Raises:
      UserError: values that cannot be, or do not agree.

    Example::

      job = trainer.TrainingJob.load(Path("JOB"))
      print(job.model, job.labels, job.parts.test, job.described)
    """

    data_dir: str
    fingerprint: str
    parts: PartChoice
    labels: tuple[str, ...]
    front_end: Mapping[str, Any]
    statistics: BandStatistics
    versions: Mapping[str, str]
    init_from: Parents | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rules.checkpoint_metric is not None and not self.parts.valid:
            raise UserError(f"the recipe {self.recipe} needs a part for validation, which chooses its epoch")
        if len(set(self.labels)) < max(2, len(self.labels)):
            raise UserError(f"the labels must be different ones, at least two, got {', '.join(self.labels)}")
        if (bands := len(self.statistics.mean)) != self.front_end.get("n_mels"):
            raise UserError(f"the statistics have {bands} bands, the front end {self.front_end.get('n_mels')}")
        if self.init_from is not None and self.model != models.WITH_PARENTS:
            raise UserError(f"`init_from` is for `model={models.WITH_PARENTS}`, got the model {self.model}")

    def check_shapes(self, model: "keras.Model") -> None:
        """Raises UserError when a model's input or output is not what this configuration says."""
        expected = [(None, self.patch_frames, self.front_end["n_mels"], 1)], [(None, len(self.labels))]
        found = [tensor.shape for tensor in model.inputs], [tensor.shape for tensor in model.outputs]
        if found != expected:
            has, says = (" to ".join(str(shapes)[1:-1] for shapes in both) for both in (found, expected))
            raise UserError(f"the model maps {has}, its job's configuration says {says}; train again")

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
          UserError: the directory holds no job, a damaged one, or one of a model that this version no longer has.
        """
        path = job_dir / CONFIG_FILE
        try:
            data = json_data.parse(files.read_text(path))
            if isinstance(data, dict):
                models.check_saved([data.get("model")], path)
                if missing := [name for name in _ALWAYS_SAVED if name not in data]:
                    raise ValueError(f"{missing[0]} is missing")
            return json_data.build(cls, data)
        except UserError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{job_dir}: no {CONFIG_FILE}, so no trained model; train one with trainer.train") from None
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


def make_dir(path: Path, name: str) -> None:
    """Make a directory and its parents, unless it exists.

    Raises:
      UserError: it cannot be made; the message gives the field's name.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"`{name}={path}` cannot be made: {error.strerror}") from None


@contextlib.contextmanager
def lock_job_dir(directory: Path, *, leftovers_after_s: float = 0) -> Iterator[None]:
    """Keep other processes from writing to a directory. The lock ends with the process, however that ends.

    Temporary files that killed processes left there are removed.

    Args:
      directory: an existing directory.
      leftovers_after_s: age of a temporary file that counts as left, in seconds. Another command may be writing where
        locks do not reach, as from another host in a bucket.

    Raises:
      UserError: another one is writing there, or the directory cannot be used.
    """
    with files.lock_directory(directory, "writing"):
        try:
            files.remove_temporary(directory, older_than_s=leftovers_after_s)
        except OSError as error:
            raise UserError(f"{directory} cannot be used: {error.strerror}") from None
        yield


def write_history(job_dir: Path, history: History) -> None:
    """Writes history.csv: a row for each finished epoch, whose number counts from 0.

    Raises:
      UserError: it cannot be written.
    """
    text = io.StringIO()
    if history:
        writer = csv.DictWriter(text, ["epoch", *sorted(history[0])])
        writer.writeheader()
        writer.writerows({"epoch": epoch, **row} for epoch, row in enumerate(history))
    files.write_text(job_dir / HISTORY_FILE, text.getvalue())


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
        whole = files.read_text(path).rpartition("\n")[0]
        rows = list(csv.DictReader(whole.splitlines(), strict=True))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not the history of a training ({error}); train again") from None
