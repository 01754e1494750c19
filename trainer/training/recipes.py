"""How a model is trained: optimiser and learning rate, which epoch is kept, when training ends.

All that a recipe decides between epochs is a function of the history alone, the metrics of the finished epochs, so that
a training that was stopped goes on exactly as an unbroken one. Nothing else holds these rules: training, the state of
an unfinished one and the report ask here.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfrecords.command_line import UserError

if TYPE_CHECKING:
    import keras

# Per finished epoch, metric name -> value; loss, val_loss, accuracy and val_accuracy are among them.
History = Sequence[Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Rises:
    """The rule of Pons, Lidy and Serra (2016) for the learning rate and the end, as their published code has it.

    An epoch is a rise when its mean training loss, dropout included, is above the reference: the loss of the latest
    epoch that was no rise, so the lowest so far. Rises need not follow each other, and are counted from the last
    halving on. An epoch that is no rise, after more than `to_halve` rises, halves the learning rate from the next
    epoch on, and the count begins anew. Training ends with the epoch that makes it more than `to_stop`.

    Attributes:
      to_halve: so many rises are borne before the rate is halved.
      to_stop: so many before training ends.
    """

    to_halve: int
    to_stop: int

    def count(self, history: History) -> tuple[int, int]:
        """(times that the rate has been halved, rises since the last time)."""
        halvings, rises, lowest = 0, 0, math.inf
        for row in history:
            if row["loss"] > lowest:
                rises += 1
                continue
            lowest = row["loss"]
            if rises > self.to_halve:
                halvings, rises = halvings + 1, 0
        return halvings, rises


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way to train. The numbers that a job may set otherwise are defaults.

    Attributes:
      name: as --recipe takes it.
      optimizer: "Adam" or "SGD" (plain, without momentum).
      learning_rate: at the start; by default.
      batch_size: patches in a step; by default.
      epochs: at most; by default.
      kept_by: the validation metric whose best epoch is kept, "val_loss" or "val_accuracy".
      patience: epochs without a better one before training ends; by default. None where `rises` ends it.
      rises: halves the rate and ends training; None: the rate falls to 0 along a cosine.
    """

    name: str
    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    kept_by: str
    patience: int | None = None
    rises: Rises | None = None

    def best_epoch(self, history: History) -> int:
        """The epoch, from 1, whose model is kept: the first of equals; 0 while there is none.

        An epoch whose metric is not there or not finite is never kept.
        """
        sign = -1 if self.kept_by == "val_loss" else 1
        values = [sign * row.get(self.kept_by, math.nan) for row in history]
        values = [value if math.isfinite(value) else -math.inf for value in values]
        best = max(values, default=-math.inf)
        return values.index(best) + 1 if best > -math.inf else 0

    def is_done(self, history: History, *, epochs: int, patience: int | None) -> bool:
        """Whether training ends with the history's last epoch.

        Args:
          history: of the finished epochs.
          epochs: at most.
          patience: epochs without a better one; not looked at where `rises` decides.
        """
        if len(history) >= epochs:
            return True
        if self.rises is not None:
            return self.rises.count(history)[1] > self.rises.to_stop
        return patience is not None and 0 < self.best_epoch(history) <= len(history) - patience

    def rate_after(self, history: History, learning_rate: float) -> float:
        """The rate of the epoch after these, under `rises`; `learning_rate` is that of the first epoch."""
        halvings = self.rises.count(history)[0] if self.rises is not None else 0
        return learning_rate / 2**halvings

    def new_optimizer(self, learning_rate: float, *, steps: int) -> "keras.optimizers.Optimizer":
        """The optimiser, before the first of `steps` steps in all epochs."""
        import keras

        if self.rises is not None:
            return keras.optimizers.get({"class_name": self.optimizer, "config": {"learning_rate": learning_rate}})
        cosine = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        return keras.optimizers.get({"class_name": self.optimizer, "config": {"learning_rate": cosine}})

    def described(self, *, learning_rate: float, batch_size: int, epochs: int, patience: int | None) -> str:
        """A training by this recipe in words, for a report."""
        rate = f"{self.optimizer}, learning rate {learning_rate:g}"
        if self.rises is not None:
            rate += (
                f", halved by the first new lowest training loss after more than {self.rises.to_halve} epochs above "
                "the lowest"
            )
            end = f"ended by more than {self.rises.to_stop} above the lowest since the last halving"
        else:
            rate += " falling to 0 along a cosine"
            end = f"until {patience} epochs bring nothing better"
        kept = "lowest validation loss" if self.kept_by == "val_loss" else "highest validation accuracy"
        return f"{self.name}: {rate}; batch {batch_size}; at most {epochs} epochs, {end}; {kept} kept"


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "modern",
            optimizer="Adam",
            learning_rate=1e-3,
            batch_size=64,
            epochs=40,
            kept_by="val_loss",
            patience=8,
        ),
        # The paper's, whose published settings allow 2,000 epochs; its last, incomplete batch of an epoch is left out
        # there, and the epoch that ends training is never kept.
        Recipe(
            "cbmi2016",
            optimizer="SGD",
            learning_rate=0.01,
            batch_size=10,
            epochs=500,
            kept_by="val_accuracy",
            rises=Rises(to_halve=20, to_stop=40),
        ),
    )
}


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
      UserError: there is none.
    """
    if name not in RECIPES:
        raise UserError(f"--recipe must be one of {', '.join(RECIPES)}, got {name!r}")
    return RECIPES[name]


def rows_of(history: Mapping[str, Sequence[float]]) -> History:
    """A history by metric, as history.csv is read, as one by epoch."""
    return [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]


def defaults_of(field: str) -> str:
    """What each recipe takes for one of its numbers, for the help of a flag."""
    values = {name: getattr(recipe, field) for name, recipe in RECIPES.items()}
    return ", ".join(f"{value:g} ({name})" for name, value in values.items() if value is not None)
