"""How a training runs, as opposed to what it computes."""

import dataclasses
import functools
import os
import re
from pathlib import Path

from tfrecords.common.command_line import UserError
from trainer import settings
from trainer.distribution.choice import AUTO, KINDS, Choice
from trainer.settings import setting
from trainer.training.stop import Stop


def parse_profile_steps(text: str) -> tuple[int, int] | None:
    """Read "FIRST,LAST", as a command line gives it; None for "".

    Example:
      >>> parse_profile_steps("10,20")
      (10, 20)

    Raises:
      UserError: not two numbers of steps, in order.
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,9}),(\d{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"two steps, counted from 1, are expected as FIRST,LAST, got {text!r}")
    return int(match[1]), int(match[2])


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a training runs, which does not change what it computes. The help of each field with a flag says what it is.

    Attributes:
      pictures: draw the confusion matrix of the validation part, if there is one, for TensorBoard.
      command: that started it, for JOB/run.json; None: run.json is not written.
      stop: whether a signal has asked it to stop.

    Raises:
      UserError: a value is out of range.

    Example:
      >>> RunOptions(distribution="none", save_every_s=60).save_every_s
      60
    """

    distribution: str = setting(
        AUTO,
        choices=KINDS,
        help="devices: none (one), mirrored (all GPUs), multi_worker (hosts of TF_CONFIG), tpu, or auto: all there are",
    )
    tpu: str = setting("local", help="name or grpc:// address of the TPU; local: of this host")
    jit_compile: bool | None = setting(
        None, help="compile the step of one device by XLA; by default on a GPU, and with JAX everywhere"
    )
    save_every_s: float = setting(
        300.0, minimum=0, help="seconds between saves of the state within an epoch; 0: after every step"
    )
    log_batches: Path | None = setting(
        None,
        parse=settings.parse_path,
        help="file to which a line 'epoch step sha256' is added for each batch trained on, to check where a training "
        "went on",
    )
    profile_steps: tuple[int, int] | None = setting(
        None,
        parse=parse_profile_steps,
        help="FIRST,LAST: steps to trace, counted from 1 when the command is given, such as 10,20; TensorBoard shows "
        "them where tensorboard-plugin-profile is installed",
    )
    pictures: bool = False
    command: str | None = None
    stop: Stop = dataclasses.field(default_factory=Stop, compare=False)

    def __post_init__(self) -> None:
        settings.check(self)

    @functools.cached_property
    def devices(self) -> Choice:
        """The devices to train on, those of the hosts of TF_CONFIG included.

        Raises:
          UserError: the backend of Keras does not have them, or TF_CONFIG is ill-formed.
        """
        return Choice.of(self.distribution, tpu=self.tpu, environ=os.environ)
