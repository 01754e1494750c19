"""A dataset as tf.data: full batches of patches, each cut from the chunk of clips that it lies in.

Everything random is a function of (seed, epoch, index), with stateless ops, so any epoch, and any step of it, can be
made without the ones before it.
"""

from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf

from tfrecords import schema, storage
from tfrecords.chunks import HostShards, MemorySource, ShardSource, raise_shard_errors
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import BandStatistics
from tfrecords.patches import RANDOM, RESIZE, WINDOWS, Clips, Normalizer, PatchExtractor, select

_ENDLESS = int(tf.int64.max)
# Enough to bridge steps of uneven time; left to itself, tf.data keeps more and more batches.
_PREFETCHED_BATCHES = 8
# For batches that are made side by side; tf.data would take up to half the host's memory.
_RAM_BUDGET_BYTES = 1 << 30

# Cut patches [patches, frames, mel_bands], and their labels and track ids.
_Patches = tuple[tf.Tensor, Mapping[str, tf.Tensor]]


def load(
    data_dir: storage.Location | Dataset,
    *,
    parts: Iterable[str] = ("all",),
    batch_size: int = 256,
    training: bool = False,
    patch_frames: int = 80,
    patch_hop: int | None = None,
    patch_mode: str = WINDOWS,
    statistics: BandStatistics | None = None,
    seed: int = 0,
    epoch: int = 0,
    step: int = 0,
    epochs: int | None = 1,
    host_index: int = 0,
    num_hosts: int = 1,
    in_memory: bool = False,
) -> tf.data.Dataset:
    """Return batches of patches from the parts of a dataset.

    Args:
      data_dir: the dataset's directory, a path or a URL such as gs://bucket/data, or the dataset.
      parts: the parts to read; ("all",) for every one.
      batch_size: patches in a batch; the last batch of an epoch may be smaller.
      training: shuffle. Otherwise patches come in the shards' order, each with its track's id.
      patch_frames: frames in a patch; a record shorter than that, or a shorter remainder of one, gives no patch.
      patch_hop: frames from one patch of a record to the next; by default patch_frames, so that none overlap.
      patch_mode: "windows": patches at every patch_hop frames of a record; "random", for training: as many of each
        record, at starts drawn anew in every epoch; "resize": one patch a record, all of it resized to patch_frames as
        by tf.image.resize.
      statistics: subtract this mean and divide by this standard deviation, per band. Use those of the training parts
        (`Manifest.statistics`) for all data. None leaves the log-mel values as they are.
      seed: seed of the order.
      epoch: the first epoch, from 0; each has its own order.
      step: batches to skip at the start of that epoch, to resume a training. They are not decoded; where records differ
        in their number of patches, the epoch is read up to there, otherwise not even that.
      epochs: how many epochs to return, one after another; None for no end.
      host_index: which of several hosts this is, from 0 (tf.distribute's input_pipeline_id).
      num_hosts: number of hosts. Each reads the shards whose number modulo num_hosts is host_index, in every epoch;
        hosts may differ by some batches. Where records differ in their number of patches, a host reads its shards once
        to count them.
      in_memory: read the clips once, now, and keep them decoded and normalised as float32 (twice the size of float16
        shards, and briefly twice that); all patches of an epoch are then shuffled as one. Otherwise the shards are read
        in every epoch, which suits local disks.

    Returns:
      A dataset of (patches [batch, patch_frames, mel_bands, 1] float32, labels [batch] int32) when training, with
      track_ids [batch] string as a third element otherwise.

    Raises:
      UserError: no manifest, no such part, a shard is missing or torn, fewer shards than hosts, an argument out of
        range, or no record is as long as a patch. A corrupt record shows only when it is read: take batches within
        `tfrecords.chunks.raise_shard_errors`.

    Example::

      statistics = tfrecords.Manifest.load("DATA").statistics(["fold_0", "fold_1"])
      batches = tfrecords.load("DATA", parts=["fold_0", "fold_1"], training=True, statistics=statistics)
      for patches, labels in batches:
          ...
    """
    extractor = PatchExtractor(patch_mode, patch_frames, patch_frames if patch_hop is None else patch_hop)
    _check_arguments(batch_size=batch_size, epoch=epoch, step=step, host_index=host_index, num_hosts=num_hosts)
    if patch_mode == RANDOM and not training:
        raise UserError("`patch_mode=random` is for training; take `patch_mode=windows` to evaluate")
    dataset = Dataset.of(data_dir)
    parts = dataset.manifest.select(parts)
    _check_patches(dataset, parts, extractor)
    shards = HostShards.of(dataset, parts, host_index=host_index, num_hosts=num_hosts)
    order_seed = seed if training else None
    source: MemorySource | ShardSource
    with raise_shard_errors():
        if in_memory:
            source = MemorySource(shards, extractor, statistics=statistics, seed=order_seed)
            statistics = None  # The clips are normalised.
        else:
            source = ShardSource(shards, extractor, seed=order_seed)
        count = source.count()
    if not count:
        raise UserError(
            f"{dataset.location}: no shard of host {host_index} has a record as long as a patch; take fewer hosts"
        )
    steps = -(-count // batch_size)
    end = _ENDLESS if epochs is None else epoch + epochs
    first, skipped = epoch + step // steps, step % steps
    left = max(0, (end - first) * steps - skipped)
    with raise_shard_errors():
        chunks = source.chunks(first, end, skipped * batch_size) if left else source.chunks(0, 0, 0)
    batches = _batches(chunks, extractor, Normalizer(statistics, patch_frames), batch_size, dataset.manifest.mel_bands)
    if epochs is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(left))
    return _with_options(batches).prefetch(_PREFETCHED_BATCHES)


def _check_arguments(**values: int) -> None:
    for name, least in (("batch_size", 1), ("num_hosts", 1), ("epoch", 0), ("step", 0)):
        if values[name] < least:
            raise UserError(f"`{name}` must be at least {least}, got {values[name]}")
    if not 0 <= values["host_index"] < values["num_hosts"]:
        raise UserError(f"`host_index` must be from 0 to {values['num_hosts'] - 1}, got {values['host_index']}")


def _check_patches(dataset: Dataset, parts: Sequence[str], extractor: PatchExtractor) -> None:
    if not any(extractor.count(frames) for part in parts for frames in dataset.manifest.parts[part].record_frames):
        raise UserError(
            f"{dataset.location}: no record of {', '.join(parts)} is as long as a patch of {extractor.frames} frames"
        )


def _batches(
    chunks: tf.data.Dataset, extractor: PatchExtractor, normalizer: Normalizer, batch_size: int, mel_bands: int
) -> tf.data.Dataset:
    """Cut full batches from chunks; only the last batch of an epoch may be smaller.

    A batch is cut from the chunk that it lies in, so that nothing is copied to make it. Patches at a chunk's end that
    fill no batch are cut early, and wait for the next chunk.

    Args:
      chunks: (whether it is its epoch's last, Clips: where the patches lie), in order.
      extractor: cuts the patches.
      normalizer: makes them a model's input.
      batch_size: patches in a batch.
      mel_bands: mel bands of a patch.

    Returns:
      A dataset of (normalised patches, labels [batch] int32) and, where the chunks have them, track ids [batch].
    """
    _, spec = chunks.element_spec
    dtype = tf.float32 if extractor.mode == RESIZE else spec.log_mel.dtype
    nothing = (
        tf.zeros([0, extractor.frames, mel_bands], dtype),
        {name: tf.zeros([0], values.dtype) for name, values in spec.about.items()},
    )

    def carry_over(waiting: _Patches, chunk: tuple[tf.Tensor, Clips]) -> tuple[_Patches, tuple]:
        is_last, patches = chunk
        early = tf.size(waiting[1][schema.LABEL])
        total = early + tf.size(patches.first)
        number = tf.where(is_last, -(-total // batch_size), total // batch_size)
        used = tf.minimum(number * batch_size, total)
        rest = select(patches, slice(tf.maximum(used - early, 0), None))
        still_waiting = _drop(waiting, tf.minimum(used, early))
        return _concatenate(still_waiting, (extractor.cut(rest), rest.about)), (
            tf.cast(number, tf.int64),
            waiting,
            patches,
        )

    def make_batch(index: tf.Tensor, chunk: tuple[_Patches, Clips]) -> tuple[tf.Tensor, ...]:
        waiting, patches = chunk
        begin = tf.cast(index, tf.int32) * batch_size - tf.size(waiting[1][schema.LABEL])
        chosen = select(patches, slice(tf.maximum(begin, 0), begin + batch_size))
        cut, about = tf.cond(
            begin < 0,
            lambda: _concatenate(waiting, (extractor.cut(chosen), chosen.about)),
            lambda: (extractor.cut(chosen), chosen.about),
        )
        batch = normalizer(cut), tf.cast(about[schema.LABEL], tf.int32)
        return (*batch, about[schema.TRACK_ID]) if schema.TRACK_ID in about else batch

    return (
        chunks.scan(nothing, carry_over)
        .flat_map(lambda number, *chunk: tf.data.Dataset.from_tensors(chunk).repeat(number).enumerate())
        .map(make_batch, num_parallel_calls=tf.data.AUTOTUNE)
    )


def _drop(patches: _Patches, count: tf.Tensor) -> _Patches:
    return patches[0][count:], {name: values[count:] for name, values in patches[1].items()}


def _concatenate(one: _Patches, other: _Patches) -> _Patches:
    about = {name: tf.concat([values, other[1][name]], 0) for name, values in one[1].items()}
    return tf.concat([one[0], other[0]], 0), about


def _with_options(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Shards are divided between hosts by `HostShards`; left on, this would silently drop data.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.autotune.ram_budget = _RAM_BUDGET_BYTES
    return batches.with_options(options)
