"""The devices that a training runs on, once they are found and connected."""

import contextlib
import dataclasses
import functools
import signal
import threading
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from tfrecords.command_line import UserError
from trainer.distribution import choice, one_device
from trainer.distribution.choice import Choice
from trainer.distribution.cluster import Cluster
from trainer.distribution.loop import Loop
from trainer.distribution.lost_host import HostLostError, losing_hosts
from trainer.distribution.rendezvous import meet
from trainer.training.input_wait import InputWait

# Hosts are started one after the other, and some have to fetch an image first.
_HOSTS_LIMIT_S = 600.0


@dataclasses.dataclass(frozen=True)
class Devices:
    """What trains.

    Attributes:
      words: what they are, for a person.
      strategy: TensorFlow's way to use several; None: Keras uses what it finds by itself.
      host: which of the hosts this is, from 0, the chief.
      hosts: how many there are.
    """

    words: str
    strategy: tf.distribute.Strategy | None = None
    host: int = 0
    hosts: int = 1

    @property
    def default_jit(self) -> bool:
        """Whether XLA is to compile the step unless someone says otherwise.

        On JAX everything else would be slow. Of TensorFlow's devices one GPU gains; on a CPU, XLA runs the long filters
        of `time` at half the speed.
        """
        if keras.config.backend() != "tensorflow":
            return True
        return self.strategy is None and bool(tf.config.list_physical_devices("GPU"))

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the job's files."""
        return self.host == 0

    def scope(self) -> contextlib.AbstractContextManager[object]:
        """Around what makes weights and optimiser, whose variables are then on every device."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def fit_of(self, model: keras.Model, *, batch_size: int, wait: InputWait) -> Callable[..., None]:
        """What trains a model, with the arguments of `one_device.fit`: that, or the same for several devices."""
        if self.strategy is None:
            return functools.partial(one_device.fit, model, wait)
        loop = Loop(model, self.strategy, wait, batch_size=batch_size, host=self.host, hosts=self.hosts)
        return losing_hosts(self.hosts)(loop.fit)

    def barrier(self) -> None:
        """Waits until all hosts are here.

        Raises:
          HostLostError: one of them is gone.
        """
        if self.strategy is not None and self.hosts > 1:
            with losing_hosts(self.hosts):
                _meet(self.strategy)


@functools.cache
def begin(asked: Choice) -> Devices:
    """Finds and connects the devices; to be called before TensorFlow has computed anything.

    Raises:
      UserError: they are not there, or this backend of Keras cannot use them so.
      HostLostError: a host did not come.
    """
    backend = keras.config.backend()
    choice.check_backend(backend, asked.kind)
    if backend != "tensorflow":
        if asked.kind == choice.NONE:
            return Devices("one device")
        from trainer.distribution import jax_devices

        return Devices(_several("devices by JAX", jax_devices.use_all()))
    if asked.cluster is not None:
        return _hosts(asked.cluster)
    gpus = len(tf.config.list_physical_devices("GPU"))
    if asked.kind == choice.TPU or (asked.kind == choice.AUTO and tf.config.list_physical_devices("TPU")):
        return _tpu(asked.tpu)
    if asked.kind == choice.MIRRORED or (asked.kind == choice.AUTO and gpus > 1):
        return _mirrored()
    return Devices("one device")


@tf.function
def _meet(strategy: tf.distribute.Strategy) -> tf.Tensor:
    """Returns when all hosts have called it."""
    return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(lambda: tf.ones([])), axis=None)


def _several(noun: str, count: int) -> str:
    return f"{count} {noun}" if count > 1 else "one device"


def _mirrored() -> Devices:
    """All GPUs, or a CPU that has been divided into several devices, as tests do."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise UserError(
            f"--distribution=mirrored needs more than one GPU, found {len(tf.config.list_physical_devices('GPU'))}; "
            "take auto, which uses what is there"
        )
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    return Devices(_several(f"{devices[0].device_type}s of this host", len(devices)), strategy)


def _tpu(name: str) -> Devices:
    """The cores of a TPU."""
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        strategy = tf.distribute.TPUStrategy(resolver)
    # What is missing, libtpu, the address or the metadata server, comes as one of many types.
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, tf.errors.OpError) as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"--distribution=tpu: no TPU answers as --tpu={name} ({words}); give its name or address, or local "
            "on its own host"
        ) from None
    return Devices(_several("TPU cores", strategy.num_replicas_in_sync), strategy)


def _hosts(cluster: Cluster, *, limit_s: float = _HOSTS_LIMIT_S) -> Devices:
    """All devices of several hosts, once all are there."""
    cluster.check_port()
    hosts = len(cluster.addresses)
    print(f"host {cluster.index} of {hosts} ({cluster.addresses[cluster.index]}): waits for the others", flush=True)
    meet(cluster, limit_s=limit_s)
    try:
        with _own_signals():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        words = (str(error).strip().splitlines() or [""])[0]
        raise HostLostError(f"the {hosts} hosts of TF_CONFIG could not be connected ({words})") from error
    replicas = strategy.num_replicas_in_sync
    words = f"{_several('devices', replicas)} of {hosts} hosts, of which this is number {cluster.index}"
    return Devices(words, strategy, cluster.index, hosts)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """TensorFlow takes SIGTERM for itself when it connects hosts, and then ignores it; here it stays as it was."""
    is_main = threading.current_thread() is threading.main_thread()
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, earlier)
