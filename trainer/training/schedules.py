"""How a recipe trains: optimizer and learning rate, which epoch is kept, when training ends.

All that a recipe decides between epochs is a function of the history alone, the metrics of the finished epochs, so that
a training that was stopped goes on exactly as an unbroken one. trainer.config names the recipes.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from trainer.config import TrainConfig

# Per finished epoch, metric name -> value: loss and accuracy, and val_loss and val_accuracy where there is validation.
History = Sequence[Mapping[str, float]]

_CHOICES = {
    "val_loss": "lowest validation loss",
    "val_accuracy": "highest validation accuracy",
    "val_macro_recall": "highest macro recall in validation",
    "val_macro_f1": "highest macro F1 in validation",
    None: "the last epoch",
}
METRICS = tuple(filter(None, _CHOICES))


@dataclasses.dataclass(frozen=True)
class LossRiseSchedule:
    """The rule of Pons, Lidy and Serra (2016) for the learning rate and the end, as their published code has it.

    An epoch is a rise when its mean training loss, dropout included, is above the reference: the loss of the latest
    epoch that was no rise, so the lowest so far. Rises need not follow each other, and are counted from the last
    halving on. An epoch that is no rise, after more than `to_halve` rises, halves the learning rate from the next
    epoch on, and the count begins anew. Training ends with the epoch that makes it more than `to_stop`.

    Attributes:
      to_halve: the rate is halved only after more rises than this.
      to_stop: training ends only after more rises than this.
    """

    to_halve: int
    to_stop: int

    def count(self, history: History) -> tuple[int, int]:
        """Return (times that the rate has been halved, rises since the last time)."""
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
    """A way to train.

    Attributes:
      optimizer: "Adam" or "SGD" (plain, without momentum).
      checkpoint_metric: the validation metric whose best epoch is kept, one of METRICS; None: the last epoch is kept,
        whatever validation says, so that its tracks may train as well.
      rises: halves the rate and ends training; None: the rate falls to 0 along a cosine.
      solves: fits a layer on a pretrained network that stays as it is (trainer.training.probe), in place of epochs.
      settings: fields of TrainConfig -> the recipe's values, where these are not the fields' defaults.
    """

    optimizer: str
    checkpoint_metric: str | None
    rises: LossRiseSchedule | None = None
    solves: bool = False
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def uses_patience(self) -> bool:
        """Whether training ends after some epochs without a better one."""
        return self.checkpoint_metric is not None and self.rises is None

    def best_epoch(self, history: History) -> int:
        """Return the epoch, from 1, whose model is kept: the first of equals, or the last; 0 while there is none.

        Where a metric decides, an epoch in which it is missing or not finite is never kept.
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
          patience: epochs without a better one; ignored where `rises` decides.
        """
        if len(history) >= epochs:
            return True
        if self.rises is not None:
            return self.rises.count(history)[1] > self.rises.to_stop
        return patience is not None and 0 < self.best_epoch(history) <= len(history) - patience

    def rate_after(self, history: History, learning_rate: float) -> float:
        """Return the rate of the epoch after these, under `rises`; `learning_rate` is that of the first epoch."""
        halvings = self.rises.count(history)[0] if self.rises is not None else 0
        return learning_rate / 2**halvings

    def describe_kept(self, history: History) -> str:
        """Return which of the finished epochs is kept, such as "best epoch 3"."""
        return f"{'last' if self.checkpoint_metric is None else 'best'} epoch {self.best_epoch(history)}"

    def describe_choice(self) -> str:
        """Return by what an epoch is chosen, such as "lowest validation loss"."""
        return _CHOICES[self.checkpoint_metric]

    def describe_rate(self, learning_rate: float, warmup: float) -> str:
        """Return the optimizer and its learning rate in words."""
        rate = f"{self.optimizer}, learning rate {learning_rate:g}"
        if self.rises is not None:
            return (
                f"{rate}, halved by the first new lowest training loss after more than {self.rises.to_halve} epochs "
                "above the lowest"
            )
        rising = f" reached from 0 over the first {100 * warmup:g} % of the steps," if warmup else ""
        return f"{rate}{rising} falling to 0 along a cosine"

    def describe_end(self, patience: int | None) -> str:
        """Return what ends training before its last epoch; "" where nothing does."""
        if self.rises is not None:
            return f"ended by more than {self.rises.to_stop} above the lowest since the last halving"
        return "" if patience is None else f"until {patience} epochs bring nothing better"


def new_optimizer(config: "TrainConfig", *, steps: int) -> "keras.optimizers.Optimizer":
    """Return the optimizer of a training of so many steps in all epochs, before the first of them."""
    import keras

    schedules, warmup_steps = keras.optimizers.schedules, int(config.warmup * steps)
    rate = config.learning_rate
    if warmup_steps:
        rate = schedules.CosineDecay(0.0, steps - warmup_steps, warmup_target=rate, warmup_steps=warmup_steps)
    elif config.rules.rises is None:
        rate = schedules.CosineDecay(rate, steps)
    options = {"learning_rate": rate}
    if config.weight_average:
        options |= {"use_ema": True, "ema_momentum": config.weight_average}
    return keras.optimizers.get({"class_name": config.rules.optimizer, "config": options})


def rows_of(history: Mapping[str, Sequence[float]]) -> History:
    """Return a history by metric, as history.csv is read, as one by epoch."""
    return [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]
