"""Which devices were asked for, checked before anything is imported that takes seconds."""

import dataclasses
from collections.abc import Mapping

from tfrecords.common.command_line import UserError
from trainer.distribution.hosts import VARIABLE, Cluster
from trainer.training.stop import GOING_ON

AUTO, NONE, MIRRORED, MULTI_WORKER, TPU = KINDS = ("auto", "none", "mirrored", "multi_worker", "tpu")
_JAX_KINDS = (AUTO, NONE)


@dataclasses.dataclass(frozen=True)
class Choice:
    """The devices that a training is to use.

    Attributes:
      kind: "none": one device. "mirrored": all GPUs of this host. "multi_worker": those of all hosts of `cluster`.
        "tpu": the cores of a TPU. "auto": the last of these that is there, else one device; on JAX all devices.
      tpu: name or grpc:// address of the TPU, or "local" for one of this host.
      cluster: the hosts, for "multi_worker".
    """

    kind: str = NONE
    tpu: str = "local"
    cluster: Cluster | None = None

    @property
    def hosts(self) -> int:
        """How many hosts train together."""
        return 1 if self.cluster is None else len(self.cluster.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the job's files."""
        return self.cluster is None or self.cluster.is_chief

    @property
    def resuming(self) -> str:
        """How a training that is stopped on this host goes on; only the chief saves what it has done."""
        if self.hosts == 1:
            return GOING_ON
        return f"the same command on all hosts goes on from {'there' if self.is_chief else 'what host 0 saved last'}"

    @classmethod
    def of(cls, kind: str, *, tpu: str, environ: Mapping[str, str]) -> "Choice":
        """What the flags and the environment ask for.

        Raises:
          UserError: no such kind, one that JAX does not have here, or TF_CONFIG is ill-formed.
        """
        if kind not in KINDS:
            raise UserError(f"`distribution` must be one of {', '.join(KINDS)}, got {kind!r}")
        check_backend(environ.get("KERAS_BACKEND", "tensorflow"), kind, hosts=bool(environ.get(VARIABLE)))
        if kind == MULTI_WORKER or (kind == AUTO and environ.get(VARIABLE)):
            return cls(MULTI_WORKER, tpu, Cluster.of(environ))
        return cls(kind, tpu)


def check_backend(backend: str, kind: str, *, hosts: bool = False) -> None:
    """Raises UserError when a backend of Keras does not have a kind of distribution here."""
    if backend == "tensorflow":
        return
    if kind not in _JAX_KINDS:
        raise UserError(
            f"`distribution={kind}` is TensorFlow's; with KERAS_BACKEND={backend} take auto (all devices of this host) "
            "or none (one)"
        )
    if hosts and kind == AUTO:
        raise UserError(
            f"several hosts ({VARIABLE}) are trained on with TensorFlow alone, not with KERAS_BACKEND={backend}; unset "
            "one of the two, or take `distribution=none`"
        )
