"""When the paper's recipe halves the learning rate and ends training: by how often the training loss has risen.

How a model is trained: optimiser and learning rate, which epoch is kept, when training ends.

All that a recipe decides between epochs is a function of the history alone, the metrics of the finished epochs, so that
a training that was stopped goes on exactly as an unbroken one. Nothing else holds these rules: training, the state of
an unfinished one and the report ask here.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfrecords.common.command_line import UserError

if TYPE_CHECKING:
    import keras

# Per finished epoch, metric name -> value: loss and accuracy, and val_loss and val_accuracy where there is validation.
History = Sequence[Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class LossRiseSchedule:
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


# As tfrecords.patches names them, which imports TensorFlow.
WINDOWS, RANDOM = "windows", "random"
PATCH_MODES = (WINDOWS, RANDOM)
_KEPT = {"val_loss": "lowest validation loss", "val_accuracy": "highest validation accuracy", None: "the last epoch"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way to train. What a job may set otherwise is a default.

    Attributes:
      name: as --recipe takes it.
      optimizer: "Adam" or "SGD" (plain, without momentum).
      learning_rate: at the start; by default.
      batch_size: patches in a step; by default.
      epochs: at most; by default.
      checkpoint_metric: the validation metric whose best epoch is kept, "val_loss" or "val_accuracy"; None: the last
        epoch is kept, whatever validation says, so that its tracks may train as well.
      patience: epochs without a better one before training ends; by default. None where `rises` ends it, or nothing
        does before the last epoch.
      rises: halves the rate and ends training; None: the rate falls to 0 along a cosine.
      warmup: share of all steps in which the rate rises linearly from 0, before the cosine; by default.
      label_smoothing: of the training labels, see trainer.training.batches; by default.
      weight_average: momentum of the average of the weights whose model is kept, see trainer.training.callbacks;
        0: the weights themselves are. By default.
      augment: how training batches are varied, as tfrecords.augmentation.Augmentation.parse reads it; by default.
      patch_mode: one of PATCH_MODES, of the training batches; by default.
      patch_frames: frames in a patch; by default.
    """

    name: str
    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    checkpoint_metric: str | None
    patience: int | None = None
    rises: LossRiseSchedule | None = None
    warmup: float = 0.0
    label_smoothing: float = 0.0
    weight_average: float = 0.0
    augment: str = ""
    patch_mode: str = WINDOWS
    patch_frames: int = 80

    def best_epoch(self, history: History) -> int:
        """The epoch, from 1, whose model is kept: the first of equals, or the last; 0 while there is none.

        Where a metric decides, an epoch in which it is not there or not finite is never kept.
        """
        if self.checkpoint_metric is None:
            return len(history)
        sign = -1 if self.checkpoint_metric == "val_loss" else 1
        values = [sign * row.get(self.checkpoint_metric, math.nan) for row in history]
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

    def describe_kept(self, history: History) -> str:
        """Which of the finished epochs is kept, as a line begins."""
        return f"{'last' if self.checkpoint_metric is None else 'best'} epoch {self.best_epoch(history)}"

    def new_optimizer(
        self, learning_rate: float, *, steps: int, warmup: float = 0.0, weight_average: float = 0.0
    ) -> "keras.optimizers.Optimizer":
        """The optimiser, before the first of `steps` steps in all epochs."""
        import keras

        schedules, rising = keras.optimizers.schedules, int(warmup * steps)
        rate = learning_rate
        if rising:
            rate = schedules.CosineDecay(0.0, steps - rising, warmup_target=learning_rate, warmup_steps=rising)
        elif self.rises is None:
            rate = schedules.CosineDecay(learning_rate, steps)
        config = {"learning_rate": rate}
        if weight_average:
            config |= {"use_ema": True, "ema_momentum": weight_average}
        return keras.optimizers.get({"class_name": self.optimizer, "config": config})

    def described(
        self,
        *,
        learning_rate: float,
        batch_size: int,
        epochs: int,
        patience: int | None,
        warmup: float = 0.0,
        label_smoothing: float = 0.0,
        weight_average: float = 0.0,
        patch_mode: str = WINDOWS,
    ) -> str:
        """A training by this recipe in words, for a report."""
        ends = patience is not None or self.rises is not None
        words = [
            f"{self.name}: {self._describe_rate(learning_rate, warmup)}",
            f"batch {batch_size}",
            f"at most {epochs} epochs, {self._describe_end(patience)}" if ends else f"{epochs} epochs",
            f"labels smoothed by {label_smoothing:g}" if label_smoothing else "",
            "training patches at random places" if patch_mode == RANDOM else "",
            f"weights averaged with momentum {weight_average:g}" if weight_average else "",
            f"{_KEPT[self.checkpoint_metric]} kept",
        ]
        return "; ".join(filter(None, words))

    def _describe_rate(self, learning_rate: float, warmup: float) -> str:
        rate = f"{self.optimizer}, learning rate {learning_rate:g}"
        if self.rises is not None:
            return (
                f"{rate}, halved by the first new lowest training loss after more than {self.rises.to_halve} epochs "
                "above the lowest"
            )
        rising = f" reached from 0 over the first {100 * warmup:g} % of the steps," if warmup else ""
        return f"{rate}{rising} falling to 0 along a cosine"

    def _describe_end(self, patience: int | None) -> str:
        if self.rises is not None:
            return f"ended by more than {self.rises.to_stop} above the lowest since the last halving"
        return f"until {patience} epochs bring nothing better"


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "modern",
            optimizer="Adam",
            learning_rate=1e-3,
            batch_size=64,
            epochs=40,
            checkpoint_metric="val_loss",
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
            checkpoint_metric="val_accuracy",
            rises=LossRiseSchedule(to_halve=20, to_stop=40),
        ),
        # More variety and a smoother end in the place of a choice among epochs.
        Recipe(
            "augmented",
            optimizer="Adam",
            learning_rate=1e-3,
            batch_size=32,
            epochs=20,
            checkpoint_metric=None,
            weight_average=0.99,
            augment="gain_db=6,mixup_alpha=0.3,frequency_masks=1,time_masks=1",
            patch_mode=RANDOM,
            patch_frames=128,
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
    """What each recipe takes for one of its fields, for the help of a flag; nothing of those that have none."""
    values = {name: getattr(recipe, field) for name, recipe in RECIPES.items()}
    return ", ".join(
        f"{value if isinstance(value, str) else f'{value:g}'} ({name})"
        for name, value in values.items()
        if value not in (None, "")
    )
