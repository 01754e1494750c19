"""How a training runs, as opposed to what it computes."""

import dataclasses
import re
from pathlib import Path

from tfrecords.common.command_line import UserError
from trainer.distribution.choice import Choice
from trainer.training.stop import Stop


@dataclasses.dataclass(frozen=True)
class Running:
    """How a training runs, which does not change what it computes.

    Attributes:
      save_every_s: seconds from one save of the state within an epoch to the next; 0: after every step.
      log_batches: file for a line per batch, see trainer.training.batches; None: none.
      devices: on which devices.
      jit_compile: whether XLA compiles the step; None: where there is a GPU, and on JAX.
      profile_steps: the first and the last step of this process to trace, from 1; None: none.
      pictures: draw the confusion matrix of the validation part, if there is one, for TensorBoard.
      command: that started it, for JOB/run.json; None: nothing is told there.
      stop: whether it has been told to stop.
    """

    save_every_s: float = 300.0
    log_batches: Path | None = None
    devices: Choice = Choice()  # noqa: RUF009 - frozen
    jit_compile: bool | None = None
    profile_steps: tuple[int, int] | None = None
    pictures: bool = False
    command: str | None = None
    stop: Stop = dataclasses.field(default_factory=Stop, compare=False)


def parse_profile_steps(text: str) -> tuple[int, int] | None:
    """Reads "FIRST,LAST", as a command line gives it; None for "".

    Raises:
      UserError: not two numbers of steps, in order.
    """
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,9}),(\d{1,9})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"--profile_steps must be FIRST,LAST, two steps counted from 1, got {text!r}")
    return int(found[1]), int(found[2])
