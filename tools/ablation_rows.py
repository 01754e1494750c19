"""What tools.ablation trains: the base, the same with one switch off or changed, and the tuning of four models."""

import copy
import dataclasses
from pathlib import Path

from tfrecords.command_line import UserError
from trainer import train
from trainer.training import recipes
from trainer.training_job import TrainingJob

MODEL = "band_cnn"
_RECIPE = recipes.get("augmented")
_BASE_FLAGS = (f"--recipe={_RECIPE.name}",)


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to train, a line of the table.

    Attributes:
      name: as --rows takes it, and of its directory.
      flags: of trainer.train, that differ from the base's.
      model: one of trainer.models.MODELS.
    """

    name: str
    flags: tuple[str, ...] = ()
    model: str = MODEL


def _augment(**changes: float | None) -> str:
    """--augment as the recipe has it, but for these settings; None: without it."""
    own = dict(setting.split("=") for setting in _RECIPE.augment.split(","))
    settings = {**own, **changes}
    return "--augment=" + ",".join(f"{name}={value}" for name, value in settings.items() if value is not None)


BASE = Row("base")
ABLATION = (
    BASE,
    Row("no_band_normalization", ("--model_options=band_normalization=0",)),
    Row("musical_filters", model="musical_cnn"),
    Row("no_gain", (_augment(gain_db=None),)),
    Row("equalizer", (_augment(equalizer_db=6),)),
    Row("no_mixup", (_augment(mixup_alpha=None),)),
    Row("no_masks", (_augment(frequency_masks=None, time_masks=None),)),
    Row("label_smoothing", ("--label_smoothing=0.1",)),
    Row("windows", ("--patch_mode=windows",)),
    Row("warmup", ("--warmup=0.1",)),
    Row("no_weight_average", ("--weight_average=0",)),
    Row("frames_80", ("--patch_frames=80",)),
    Row("frames_256", ("--patch_frames=256",)),
    Row("epochs_40", ("--epochs=40",)),
    Row("modern", ("--recipe=modern",)),
)

# What each of TUNED is given to be tuned by: all of it, so that none is chosen from more trials than another.
SETTINGS: dict[str, tuple[str, ...]] = {
    "as_is": (),
    "rate_0.0003": ("--learning_rate=0.0003",),
    "rate_0.003": ("--learning_rate=0.003",),
}
TUNED = (MODEL, "musical_cnn", "cnn", "black_box")
_TRAINED = {(row.model, row.flags): row for row in ABLATION}
TUNING = tuple(
    _TRAINED.get((model, flags), Row(f"{model}.{name}", flags, model))
    for model in TUNED
    for name, flags in SETTINGS.items()
)
TABLES = {"ablation": ABLATION, "tuning": TUNING}


def chosen(names: list[str]) -> list[Row]:
    """The rows of these names, or of the tables of these names, in the tables' order; the base is one of them.

    Raises:
      UserError: there is no such row or table.
    """
    rows = {row.name: row for table in TABLES.values() for row in table}
    for name in names:
        if name not in rows and name not in TABLES:
            raise UserError(f"--rows must be some of {', '.join([*TABLES, *rows])}, got {name!r}")
    wanted = {BASE.name, *names, *(row.name for table in names for row in TABLES.get(table, ()))}
    return [row for name, row in rows.items() if name in wanted]


def make_job(row: Row, data_dir: Path, seed: int, epochs: int | None) -> TrainingJob:
    """The job that trainer.train would make of a row's flags.

    Args:
      row: of a table.
      data_dir: of the dataset.
      seed: of the training.
      epochs: at most, where the row does not say; None: the recipe's.

    Raises:
      UserError: as trainer.train.make_job.
    """
    own = [f"--data_dir={data_dir}", f"--model={row.model}", f"--seed={seed}"]
    if epochs is not None:
        own.append(f"--epochs={epochs}")
    values = copy.deepcopy(train.FLAGS)
    # A row's own last: what it says of itself holds.
    values(["trainer.train", *_BASE_FLAGS, *own, *row.flags])
    return train.make_job(values)
