"""Chunks of patches -> full batches, each cut out of its chunk at once.

Shards -> tf.data: clip records, decoded chunk by chunk, whose patches are shuffled as one and cut batch by batch.

Everything random is a function of (seed, epoch, index), with stateless ops, so that an epoch can be made again
without replaying the ones before it, and any step of it without making the steps before it.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from tfrecords import schema
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics, Manifest
from tfrecords.patches import RANDOM, WINDOWS, Cutter, Finish, select
from tfrecords.sources import HostShards, MemorySource, ShardSource, raise_shard_errors


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
        early = tf.size(waiting[1][schema.LABEL])
        total = early + tf.size(patches.first)
        number = tf.where(last, -(-total // batch_size), total // batch_size)
        given = tf.minimum(number * batch_size, total)
        left = select(patches, slice(tf.maximum(given - early, 0), None))
        used = tf.minimum(given, early)
        still = _join((waiting[0][used:], _tail(waiting[1], used)), (cutter.cut(left), left.about))
        return still, (tf.cast(number, tf.int64), waiting, patches)

    def one(index, chunk):
        waiting, patches = chunk
        begin = tf.cast(index, tf.int32) * batch_size - tf.size(waiting[1][schema.LABEL])
        own = select(patches, slice(tf.maximum(begin, 0), begin + batch_size))
        cut, about = tf.cond(
            begin < 0,
            lambda: _join(waiting, (cutter.cut(own), own.about)),
            lambda: (cutter.cut(own), own.about),
        )
        batch = finish(cut), tf.cast(about[schema.LABEL], tf.int32)
        return (*batch, about[schema.TRACK_ID]) if schema.TRACK_ID in about else batch

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


_FOREVER = int(tf.int64.max)
# Enough to bridge what a step varies in time; left to itself, tf.data keeps more and more.
_READY_BATCHES = 8
# For batches that are made side by side; tf.data would take up to half the host's memory.
_RAM_BUDGET_BYTES = 1 << 30


def load(
    data_dir: str | Path,
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
    """Batches of patches from the parts of a dataset.

    Args:
      data_dir: the dataset's directory.
      parts: which parts to read; ("all",) for every one.
      batch_size: patches in a batch; the last batch of an epoch may be smaller.
      training: shuffle. Otherwise the order is that of the shards, and each patch comes with its track's id.
      patch_frames: frames in a patch; records (and rests of records) that are shorter give no patch.
      patch_hop: frames from one patch to the next of a record; patch_frames by default, so that none overlap.
      patch_mode: "windows": patches at every patch_hop frames of a record; "random", for training: as many of each
        record, at starts that every epoch draws anew; "resize": one patch a record, all of it, stretched or squeezed
        to patch_frames as tf.image.resize does it.
      statistics: subtract this mean and divide by this standard deviation, per band. Use those of the training parts
        (`Manifest.statistics`), whatever is read. None leaves the log-mel values as they are.
      seed: changes the order.
      epoch: which epoch's order to give, from 0.
      step: batches to leave out from that epoch's start on: what a training that goes on has seen already. They are
        not decoded; where records differ in their number of patches, the epoch is read up to there, else not even
        that.
      epochs: how many epochs to give, one after another; None for no end.
      host_index: which of several hosts this is, from 0 (tf.distribute's input_pipeline_id).
      num_hosts: how many there are. Each reads its own shards in every epoch, those whose number modulo num_hosts is
        host_index; shares may differ by some batches. Where records differ in their number of patches, a host counts
        its share first, reading it once.
      in_memory: read the clips once, now, and keep them decoded and normalised as float32 (twice the size of float16
        shards, and for a moment twice that), where they fit; all patches of an epoch are then shuffled as one.
        Otherwise the shards are read anew for every epoch, which suits local disks.

    Returns:
      A dataset of (patches [batch, patch_frames, mel_bands, 1] float32, labels [batch] int32) when training, with
      track_ids [batch] string as a third element when not.

    Raises:
      UserError: no manifest, no such part, a shard is missing or torn, fewer shards than hosts, an argument out of
        range, or no record is as long as a patch. What is wrong with a shard only shows when it is read: take batches
        within `tfrecords.sources.reading`.
    """
    cutter = Cutter(patch_mode, patch_frames, patch_frames if patch_hop is None else patch_hop)
    _check_arguments(batch_size=batch_size, epoch=epoch, step=step, host_index=host_index, num_hosts=num_hosts)
    if patch_mode == RANDOM and not training:
        raise UserError("patch_mode 'random' is for training; take 'windows' to evaluate")
    manifest = Manifest.load(data_dir)
    parts = manifest.select(parts)
    _check_patches(manifest, parts, cutter, data_dir)
    share = HostShards.of(manifest, data_dir, parts, host_index=host_index, num_hosts=num_hosts)
    source: MemorySource | ShardSource
    with raise_shard_errors():
        if in_memory:
            source = MemorySource.of(share, cutter, statistics=statistics, seed=seed if training else None)
            statistics = None  # They are normalised already.
        else:
            source = ShardSource.of(share, cutter, seed=seed if training else None)
        count = source.count()
    if not count:
        raise UserError(f"{data_dir}: no shard of host {host_index} has a record as long as a patch; take fewer hosts")
    steps = -(-count // batch_size)
    end = _FOREVER if epochs is None else epoch + epochs
    first, passed = epoch + step // steps, step % steps
    left = (end - first) * steps - passed
    with raise_shard_errors():
        chunks = source.chunks(first, end, passed * batch_size) if left > 0 else source.chunks(0, 0, 0)
    dataset = batches(
        chunks,
        cutter=cutter,
        finish=Finish(statistics, patch_frames),
        batch_size=batch_size,
        mel_bands=manifest.mel_bands,
    )
    if epochs is not None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(max(0, left)))
    return _prefetched(dataset)


def _check_arguments(**values: int) -> None:
    for name, least in (("batch_size", 1), ("num_hosts", 1), ("epoch", 0), ("step", 0)):
        if values[name] < least:
            raise UserError(f"{name} must be at least {least}, got {values[name]}")
    if not 0 <= values["host_index"] < values["num_hosts"]:
        raise UserError(f"host_index must be from 0 to {values['num_hosts'] - 1}, got {values['host_index']}")


def _check_patches(manifest: Manifest, parts: Sequence[str], cutter: Cutter, data_dir: str | Path) -> None:
    if not any(cutter.count(frames) for part in parts for frames in manifest.parts[part].record_frames):
        raise UserError(f"{data_dir}: no record of {', '.join(parts)} is as long as a patch of {cutter.frames} frames")


def _prefetched(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Sharding between hosts is by hand; left on, it would silently drop data.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.autotune.ram_budget = _RAM_BUDGET_BYTES
    return dataset.with_options(options).prefetch(_READY_BATCHES)
