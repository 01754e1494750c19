"""Chunks of patches -> full batches, each cut out of its chunk at once."""

from collections.abc import Callable

import tensorflow as tf

from tfrecords import example
from tfrecords.patches import Cutter, select


def batches(
    chunks: tf.data.Dataset,
    *,
    cutter: Cutter,
    finish: Callable[[tf.Tensor], tf.Tensor],
    batch_size: int,
    mel_bands: int,
) -> tf.data.Dataset:
    """Batches of batch_size patches; only the last of an epoch may be smaller.

    A batch is cut from the chunk that it lies in, so that nothing is copied to make it. Patches at a chunk's end that
    fill no batch are cut early, and wait for the next chunk.

    Args:
      chunks: (whether it is an epoch's last, Clips: where the patches lie), in order.
      cutter: cuts them.
      finish: [patches, frames, mel_bands] as cut -> the first element of the result.
      batch_size: patches in a batch.
      mel_bands: of a patch.

    Returns:
      A dataset of (finished patches, labels [batch] int32) and, where the chunks have them, track ids [batch].
    """
    _, spec = chunks.element_spec
    kind = tf.float32 if cutter.mode == "resize" else spec.log_mel.dtype
    nothing = (
        tf.zeros([0, cutter.frames, mel_bands], kind),
        {name: tf.zeros([0], values.dtype) for name, values in spec.about.items()},
    )

    def carry(waiting, chunk):
        last, patches = chunk
        early = tf.size(waiting[1][example.LABEL])
        total = early + tf.size(patches.first)
        number = tf.where(last, -(-total // batch_size), total // batch_size)
        given = tf.minimum(number * batch_size, total)
        left = select(patches, slice(tf.maximum(given - early, 0), None))
        used = tf.minimum(given, early)
        still = _join((waiting[0][used:], _tail(waiting[1], used)), (cutter.cut(left), left.about))
        return still, (tf.cast(number, tf.int64), waiting, patches)

    def one(index, chunk):
        waiting, patches = chunk
        begin = tf.cast(index, tf.int32) * batch_size - tf.size(waiting[1][example.LABEL])
        own = select(patches, slice(tf.maximum(begin, 0), begin + batch_size))
        cut, about = tf.cond(
            begin < 0,
            lambda: _join(waiting, (cutter.cut(own), own.about)),
            lambda: (cutter.cut(own), own.about),
        )
        batch = finish(cut), tf.cast(about[example.LABEL], tf.int32)
        return (*batch, about[example.TRACK_ID]) if example.TRACK_ID in about else batch

    return (
        chunks.scan(nothing, carry)
        .flat_map(lambda number, *chunk: tf.data.Dataset.from_tensors(chunk).repeat(number).enumerate())
        .map(one, num_parallel_calls=tf.data.AUTOTUNE)
    )


def _tail(about, begin):
    return {name: values[begin:] for name, values in about.items()}


def _join(one, other):
    about = {name: tf.concat([values, other[1][name]], 0) for name, values in one[1].items()}
    return tf.concat([one[0], other[0]], 0), about
