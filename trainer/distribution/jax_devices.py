"""All devices of a host under JAX: the rows of each batch are shared out among them, the weights are on each."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras


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
