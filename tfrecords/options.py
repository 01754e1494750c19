"""What a reader may be told about the machine that it runs on; none of it but the order depends on these."""

import dataclasses

from tfrecords.command_line import UserError

IN_MEMORY = "memory"


@dataclasses.dataclass(frozen=True)
class ReaderOptions:
    """How `tfrecords.load` uses memory, disk and threads. The defaults are right for most.

    Attributes:
      in_graph: read by TensorFlow's operations alone, for a pipeline that other processes are to run, such as the
        workers of a tf.data service. The batches are the same; they cost twice the time or more.
      cache: "" reads the shards anew for every epoch: right for local disks. "memory" reads the clips once, when
        `load` is called, and keeps them decoded and normalised as float32 (twice the size of float16 shards, and for
        a moment twice that): right when they fit. Then all patches of an epoch are shuffled as one. Anything else is
        a directory to which the shards are copied when `load` is called, each under its checksum, so that no other
        content is ever taken for it: right for data on slow or shared disks; delete it to be rid of it.
      shuffle_bytes: how much stored data is shuffled as one, in bytes. Raise it where neighbouring batches are too
        alike (few shards, sorted clips); lower it where memory is short: about four times as much is in use at once.
        It decides the order of training, so keep it when a training goes on.
      ram_budget_bytes: bytes that tf.data may take for the batches that it makes side by side; 0 for TensorFlow's own
        limit, half of the host's memory. Raise it for batches of hundreds of megabytes.
      threads: threads of its own for reading; 0 shares TensorFlow's, one for each core. Set it where reading and a
        model on the CPU get in each other's way, or several readers share a host.
      device: name of a device, such as "/gpu:0", to whose memory batches are copied ahead of use; "" for none. For a
        loop of your own on one GPU; Keras' fit and distribution strategies do their own copying.
    """

    in_graph: bool = False
    cache: str = ""
    shuffle_bytes: int = 32 << 20
    ram_budget_bytes: int = 1 << 30
    threads: int = 0
    device: str = ""

    def __post_init__(self) -> None:
        for name, least in (("shuffle_bytes", 1), ("ram_budget_bytes", 0), ("threads", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}, got {getattr(self, name)}")
