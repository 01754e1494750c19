"""How a training runs, as opposed to what it computes."""

import dataclasses
from pathlib import Path

from trainer.distribution.choice import Choice


@dataclasses.dataclass(frozen=True)
class Running:
    """How a training runs, which does not change what it computes (but see trainer.training.data_service on the order).

    Attributes:
      save_every_s: seconds from one save of the state within an epoch to the next; 0: after every step.
      data_service: grpc://HOST:PORT of a dispatcher that makes the training batches; None: this process does.
      log_batches: file for a line per batch, see trainer.training.batch_log; None: none.
      devices: on which devices.
      jit_compile: whether XLA compiles the step; None: where there is a GPU, and on JAX.
    """

    save_every_s: float = 300.0
    data_service: str | None = None
    log_batches: Path | None = None
    devices: Choice = Choice()  # noqa: RUF009 - frozen
    jit_compile: bool | None = None
