"""When the paper's recipe halves the learning rate and ends training: by how often the training loss has risen."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

# Per finished epoch, metric name -> value: loss and accuracy, and val_loss and val_accuracy where there is validation.
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
