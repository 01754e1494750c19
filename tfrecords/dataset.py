"""Shards -> tf.data: clip records, parsed in batches, cut into patches and shuffled as whole tensors.

Everything random is a function of (seed, epoch, index), with stateless ops, so that an epoch can be made again
without replaying the ones before it.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf

from tfrecords import example
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest
from tfrecords.statistics import BandStatistics

# Shards read side by side: tracks of many shards meet in one shuffled chunk.
_CYCLE_LENGTH = 16
_FOREVER = tf.int64.max


def load(
    data_dir: str | Path,
    *,
    parts: Iterable[str] = ("all",),
    batch_size: int = 256,
    training: bool = False,
    patch_frames: int = 80,
    patch_hop: int | None = None,
    statistics: BandStatistics | None = None,
    seed: int = 0,
    epoch: int = 0,
    step: int = 0,
    epochs: int | None = 1,
    shuffle_bytes: int = 64 << 20,
) -> tf.data.Dataset:
    """Batches of patches from the parts of a dataset.

    Args:
      data_dir: the dataset's directory.
      parts: which parts to read; ("all",) for every one.
      batch_size: patches in a batch; the last batch of an epoch may be smaller.
      training: shuffle. Otherwise the order is that of the shards, and each patch comes with its track's id.
      patch_frames: frames in a patch; records (and rests of records) that are shorter give no patch.
      patch_hop: frames from one patch to the next of a record; patch_frames by default, so that none overlap.
      statistics: subtract this mean and divide by this standard deviation, per band. Use those of the training parts
        (`Manifest.statistics`), whatever is read. None leaves the log-mel values as they are.
      seed: changes the order.
      epoch: which epoch's order to give, from 0.
      step: batches of that epoch to leave out, at its start: what a training that goes on has seen already.
      epochs: how many epochs to give, one after another; None for no end.
      shuffle_bytes: how much of the data is shuffled as one; lower it where memory is short.

    Returns:
      A dataset of (patches [batch, patch_frames, mel_bands, 1] float32, labels [batch] int32) when training, with
      track_ids [batch] string as a third element when not.

    Raises:
      UserError: no manifest, no such part, a shard is missing or torn, or no record is as long as a patch.
    """
    manifest = Manifest.load(data_dir)
    parts = manifest.select(parts)
    files = manifest.check_files(data_dir, parts)
    patch_hop = patch_frames if patch_hop is None else patch_hop
    for name, value in (("batch_size", batch_size), ("patch_frames", patch_frames), ("patch_hop", patch_hop)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")
    num_patches = manifest.num_patches(parts, patch_frames=patch_frames, patch_hop=patch_hop)
    if not num_patches:
        raise UserError(f"{data_dir}: no record of {', '.join(parts)} is as long as a patch of {patch_frames} frames")

    chunk_records = _chunk_records(manifest, parts, shuffle_bytes)

    def one_epoch(index: tf.Tensor) -> tf.data.Dataset:
        order = tf.stack([tf.constant(seed, tf.int64), index]) if training else None
        chunks = _serialized(files, order).batch(chunk_records).enumerate()
        patches = chunks.map(
            lambda chunk, serialized: _cut(
                _parse(serialized, manifest),
                patch_frames,
                patch_hop,
                None if order is None else tf.random.experimental.stateless_fold_in(order, chunk),
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return patches.rebatch(batch_size)

    if training:
        last = _FOREVER if epochs is None else epoch + epochs
        dataset = tf.data.Dataset.range(epoch, last).flat_map(one_epoch)
    else:
        dataset = one_epoch(tf.constant(epoch, tf.int64)).repeat(epochs)
    dataset = dataset.map(_Finish(statistics, training), num_parallel_calls=tf.data.AUTOTUNE)
    if epochs is not None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-num_patches // batch_size) * epochs))
    dataset = dataset.skip(step)
    options = tf.data.Options()
    options.deterministic = True
    # Sharding between hosts is by hand; left on, it would silently drop data.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


@contextlib.contextmanager
def reading(data_dir: str | Path) -> Iterator[None]:
    """Around whatever takes batches from `load`: a corrupt shard, found only when it is read, becomes a UserError."""
    try:
        yield
    except tf.errors.DataLossError:
        raise UserError(
            f"{data_dir}: a shard is corrupt; python -m tfrecords verify {data_dir} names it; write the dataset again"
        ) from None


def _chunk_records(manifest: Manifest, parts: Iterable[str], shuffle_bytes: int) -> int:
    shards = [shard for part in parts for shard in manifest.parts[part].shards]
    record_bytes = sum(shard.bytes for shard in shards) / max(1, sum(shard.records for shard in shards))
    return max(1, int(shuffle_bytes / record_bytes))


def _serialized(files: list[str], order: tf.Tensor | None) -> tf.data.Dataset:
    """Serialized records: in the files' order, or from many files in turn when an order (seed, epoch) is given."""
    if order is None:
        return tf.data.TFRecordDataset(files)
    shuffled = tf.random.experimental.stateless_shuffle(tf.constant(files), order)
    return tf.data.Dataset.from_tensor_slices(shuffled).interleave(
        tf.data.TFRecordDataset,
        cycle_length=min(len(files), _CYCLE_LENGTH),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _parse(serialized: tf.Tensor, manifest: Manifest) -> dict[str, tf.Tensor]:
    """serialized [records] -> track_id, label, frames [records] and log_mel [all their frames, mel_bands]."""
    kinds = {example.TRACK_ID: tf.string, example.LABEL: tf.int64, example.FRAMES: tf.int64, example.LOG_MEL: tf.string}
    record = tf.io.parse_example(serialized, {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items()})
    values = tf.io.decode_raw(tf.strings.reduce_join(record[example.LOG_MEL]), tf.as_dtype(manifest.dtype))
    return record | {example.LOG_MEL: tf.reshape(values, [-1, manifest.mel_bands])}


def _cut(
    record: dict[str, tf.Tensor], patch_frames: int, patch_hop: int, order: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Patches [patches, patch_frames, mel_bands], labels [patches] and track ids [patches], shuffled by order."""
    frames = record[example.FRAMES]
    counts = tf.nn.relu((frames - patch_frames) // patch_hop + 1)
    source = tf.repeat(tf.range(tf.size(frames)), counts)
    position = tf.range(tf.size(source, tf.int64)) - tf.gather(tf.cumsum(counts, exclusive=True), source)
    start = tf.gather(tf.cumsum(frames, exclusive=True), source) + position * patch_hop
    if order is not None:
        shuffled = tf.random.experimental.stateless_shuffle(tf.range(tf.size(source)), order)
        source, start = tf.gather(source, shuffled), tf.gather(start, shuffled)
    patches = tf.gather(record[example.LOG_MEL], start[:, tf.newaxis] + tf.range(patch_frames, dtype=tf.int64))
    return patches, tf.gather(record[example.LABEL], source), tf.gather(record[example.TRACK_ID], source)


class _Finish:
    """Patches as stored -> what a model takes: float32, normalised, with a channel."""

    def __init__(self, statistics: BandStatistics | None, training: bool) -> None:
        self._statistics = statistics
        self._training = training

    def __call__(self, patches: tf.Tensor, labels: tf.Tensor, track_ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
        patches = tf.cast(patches, tf.float32)
        if self._statistics is not None:
            mean = tf.constant(self._statistics.mean, tf.float32)
            patches = (patches - mean) * tf.constant(1 / self._statistics.std, tf.float32)
        batch = patches[..., tf.newaxis], tf.cast(labels, tf.int32)
        return batch if self._training else (*batch, track_ids)
