"""Global batches -> what each replica of a step is given."""

import tensorflow as tf


def replica_batches(
    batches: tf.data.Dataset, *, batch_size: int, replicas: int, first: int, local: int
) -> tf.data.Dataset:
    """Deals the rows of every global batch to the replicas, in order, and gives this host what its own ones get.

    Every host makes the global batches and keeps its rows of them, so that a step's batch does not depend on the number
    of hosts. What a host cannot read so fast, some 170,000 patches a second on two cores, no number of hosts can train
    on; `tfrecords.load(host_index=..., num_hosts=...)` would divide the reading, at the price of other batches for
    every number of hosts and of hosts that end an epoch at different steps.

    All replicas get equally many rows, whatever the size of a batch, as accelerators want one shape: rows that are
    missing are zeros of weight 0.

    Args:
      batches: (patches [batch, frames, mel_bands, 1] float32, labels [batch] int32 or [batch, labels] float32), with at
        most batch_size rows.
      batch_size: of the global batch.
      replicas: on all hosts.
      first: number of this host's first replica.
      local: replicas of this host.

    Returns:
      A dataset of `local` elements for every batch, each (patches [rows, ...], labels [rows, ...], weights [rows]
      float32) with rows = batch_size / replicas, rounded up. The weights of a batch sum to 1 over all replicas.
    """
    rows = -(-batch_size // replicas)

    def own(patches: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        count = tf.shape(labels)[0]
        begin, end = first * rows, (first + local) * rows
        weights = tf.fill([count], 1.0 / tf.cast(count, tf.float32))
        return tuple(dealt(array[begin:end]) for array in (patches, labels, weights))

    def dealt(array: tf.Tensor) -> tf.Tensor:
        shape = array.shape[1:].as_list()
        missing = local * rows - tf.shape(array)[0]
        padded = tf.pad(array, [[0, missing], *[[0, 0]] * len(shape)])
        return tf.reshape(padded, [local, rows, *shape])

    return batches.map(own, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
