"""The devices that a training runs on: found, connected, and `fit` for them.

Under JAX the rows of each batch are divided among all devices of a host, and each has all weights. Under TensorFlow one
device uses Keras' own `fit`, several use trainer.distribution.loop.
"""

import contextlib
import dataclasses
import functools
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrecords.common.command_line import UserError
from trainer.distribution import choice
from trainer.distribution.choice import Choice
from trainer.distribution.hosts import Cluster, HostLostError, losing_hosts, meet
from trainer.distribution.loop import Loop
from trainer.training.input_wait import InputWait


class RowParallel(keras.distribution.DataParallel):
    """`DataParallel` that takes any batch: one that cannot be dealt evenly is computed, whole, by every device.

    Only the last batch of an epoch and of a validation is smaller than the others, so little is lost; the losses are
    exact.
    """

    def get_data_layout(self, data_shape: Sequence[int]) -> "keras.distribution.TensorLayout":
        """How an array [batch, ...] lies on the devices."""
        if data_shape[0] % self.num_model_replicas:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        return super().get_data_layout(data_shape)


def use_all() -> int:
    """Lets every model made from now on use all devices of this host; returns how many."""
    devices = keras.distribution.list_devices()
    if len(devices) > 1:
        keras.distribution.set_distribution(RowParallel(devices=devices, auto_shard_dataset=False))
        _ask_for_every_batch()
    return len(devices)


def _ask_for_every_batch() -> None:
    """Has `fit` ask for the layout of every batch; by itself it takes that of the first for all (Keras 3.15)."""
    from keras.src.backend.jax import trainer

    def placed(self: Any, distribution: keras.distribution.DataParallel) -> Iterator[Any]:
        for batch in self.data_adapter.get_jax_iterator():
            yield trainer._distribute_data(batch)

    trainer.JAXEpochIterator._get_distributed_iterator = placed


def fit(
    model: keras.Model,
    wait: InputWait,
    batches: tf.data.Dataset,
    *,
    initial_epoch: int,
    epochs: int,
    steps_per_epoch: int,
    validation_data: tf.data.Dataset | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """`keras.Model.fit`, which cannot run an epoch of no steps.

    Args:
      model: compiled.
      wait: adds up how long steps wait for their batches.
      batches: (patches, labels), as many as the steps or more.
      initial_epoch: number of the first epoch.
      epochs: the epoch after the last.
      steps_per_epoch: of every epoch; 0: all steps of the one epoch are done, only validation and its end are left.
      validation_data: (patches, labels); None: without validation.
      callbacks: they print what there is to see.
    """
    if not steps_per_epoch:
        _finish_epoch(model, validation_data, callbacks, epoch=initial_epoch, epochs=epochs)
        return
    model.fit(
        wait.timed(batches),
        initial_epoch=initial_epoch,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,  # The data set shuffles itself.
        validation_data=validation_data,
        verbose=0,
        callbacks=list(callbacks),
    )


def _finish_epoch(
    model: keras.Model,
    validation: tf.data.Dataset | None,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    epoch: int,
    epochs: int,
) -> None:
    """Validate and end an epoch as `fit` does; SaveProgress restores the means over its steps at its start."""
    every = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs, steps=0, verbose=0)
    model.stop_training = False
    every.on_train_begin()
    model.reset_metrics()
    every.on_epoch_begin(epoch)
    logs = dict(model.get_metrics_result())
    if validation is not None:
        validated = model.evaluate(validation, callbacks=every, verbose=0, return_dict=True)
        logs |= {f"val_{name}": value for name, value in validated.items()}
    every.on_epoch_end(epoch, logs)
    every.on_train_end(logs)


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
        """Return the function that trains a model: `fit`, or one with the same arguments for several devices."""
        if self.strategy is None:
            return functools.partial(fit, model, wait)
        loop = Loop(model, self.strategy, wait, batch_size=batch_size, hosts=self.hosts)
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
        return Devices(_several("devices by JAX", use_all()))
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
            f"`distribution=mirrored` needs more than one GPU, found {len(tf.config.list_physical_devices('GPU'))}; "
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
            f"`distribution=tpu`: no TPU answers as `tpu={name}` ({words}); give its name or address, or local "
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
