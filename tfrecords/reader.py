"""A dataset as tf.data: batches of patches, each gathered straight from the shards into the batch.

Everything random is a function of (seed, epoch), so any epoch, and any step of it, can be made without the ones before
it.
"""

import atexit
import contextlib
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfrecords import storage
from tfrecords.batches import Batch, BatchReader, PatchSource
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import encodable
from tfrecords.dataset import Dataset
from tfrecords.manifest import BandStatistics
from tfrecords.mapped_shards import MappedShards
from tfrecords.patches import RANDOM, RESIZE, WINDOWS, Normalizer, PatchExtractor
from tfrecords.schema import DTYPES
from tfrecords.shard import ShardError
from tfrecords.shard_cache import ShardCache
from tfrecords.streams import (
    SHUFFLE_BYTES,
    PatchTable,
    Stream,
    block_records,
    count_per_label,
    count_streams,
    host_streams,
)

_ENDLESS = int(tf.int64.max)
# Enough to bridge steps of uneven time; left to itself, tf.data keeps more and more batches.
_PREFETCHED_BATCHES = 8
# The text that TensorFlow was given of each error -> the error's own, with advice. Shards are read ahead, so errors are
# met in other threads, and perhaps before the `raise_shard_errors` block in which TensorFlow raises them.
_texts: dict[str, str] = {}
# TensorFlow asks for the next batch sooner than that, unless it has enough.
_IDLE_S = 0.1


class _InFlight:
    """The iterators that are making a batch, so that the process can wait for them before it ends.

    Python blocks every thread of TensorFlow's that calls it while the interpreter shuts down, and TensorFlow waits for
    that thread: the process would never end.
    """

    def __init__(self) -> None:
        self.process_ends = False
        self._iterators: set[object] = set()
        self._last_left = -math.inf

    def enter(self, iterator: object) -> None:
        """Note that an iterator begins to make a batch."""
        self._iterators.add(iterator)

    def leave(self, iterator: object) -> None:
        """Note that it has made the batch, or has ended."""
        self._iterators.discard(iterator)
        self._last_left = time.monotonic()

    def end(self) -> None:
        """Let iterators end instead of making another batch, and wait for the batches in flight."""
        self.process_ends = True
        while self._iterators or time.monotonic() - self._last_left < _IDLE_S:
            time.sleep(_IDLE_S / 10)


_in_flight = _InFlight()
atexit.register(_in_flight.end)


@contextlib.contextmanager
def raise_shard_errors() -> Iterator[None]:
    """Raise a UserError where a shard turns out to be bad while batches of `load` are taken within the block.

    TensorFlow wraps whatever a dataset raises; its other errors pass through.

    Raises:
      UserError: a shard cannot be read or is corrupt, or a record does not parse; the message names the file, and the
        offset in bytes or the record.
    """
    try:
        yield
    except ShardError as error:
        raise UserError(_with_advice(error)) from None
    except tf.errors.OpError as error:
        # A model may fail by itself before a bad shard's turn comes. The longest: one text may begin another.
        if met := max((text for text in list(_texts) if text in error.message), key=len, default=None):
            raise UserError(_texts[met]) from None
        raise


def _for_tensorflow(error: ShardError) -> ShardError:
    """Return the error to raise inside of a tf.data.Dataset, and keep its text for `raise_shard_errors`."""
    # TensorFlow passes on UTF-8 only.
    text = encodable(str(error))
    _texts[text] = _with_advice(error)
    return ShardError(text)


def _with_advice(error: ShardError) -> str:
    return f"{error}; {error.advice}"


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
    dtype: str = "float32",
    balanced: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = None,
) -> tf.data.Dataset:
    """Return batches of patches from the parts of a dataset.

    Args:
      data_dir: the dataset's directory, a path or a URL such as gs://bucket/data, or the dataset.
      parts: the parts to read; ("all",) for every one.
      batch_size: patches in a batch of all hosts together; the last batch of an epoch may be smaller.
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
      step: batches to skip at the start of that epoch, to resume a training; nothing is read for them.
      epochs: how many epochs to return, one after another; None for no end.
      host_index: which of several hosts this is, from 0 (tf.distribute's input_pipeline_id).
      num_hosts: number of hosts. Each gives its rows of every batch, batch_size / num_hosts of a full one, and reads
        only what these lie in: `tfrecords.streams.count_streams` of the batch size must be a multiple of num_hosts.
        The batches of all hosts together are the same for every such number.
      in_memory: read the records once, now, and keep them as stored; in training all patches of a stream are then
        shuffled as one. Otherwise the shards are read in every epoch, which suits local disks.
      dtype: dtype of the patches, "float32" or "float16". In float16 they are as stored, for a model that normalises
        them itself, and take half the memory and less than half the time.
      balanced: for training: an epoch holds as many patches of every label as the most common one has, those of the
        others several times, each about as often; see `patches_per_label`. Clips that are resized cannot be balanced.
      cache_dir: directory of this machine where shards of a store are kept; by default that of the environment
        variable TFRECORDS_CACHE_DIR, or ~/.cache/music_genre_tfrecords/shards. Several processes may share one.
      cache_bytes: most bytes of all files there, of which those least recently used are removed for others; by default
        TFRECORDS_CACHE_BYTES, or 16 GiB. With less than the shards in use take, shards are fetched again.

    Returns:
      A dataset of (patches [batch, patch_frames, mel_bands, 1] of dtype, labels [batch] int32) when training, with
      track_ids [batch] string as a third element otherwise.

    Raises:
      UserError: no manifest, no such part, a shard is missing or torn, a number of hosts that does not fit the batch
        size, an argument out of range, or no record is as long as a patch. A corrupt record shows only when it is read:
        take batches within `tfrecords.reader.raise_shard_errors`.

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
    if balanced and (not training or patch_mode == RESIZE):
        raise UserError(f"`balanced` is for training on patches of clips, got training={training} with {patch_mode}")
    if dtype not in DTYPES:
        raise UserError(f"`dtype` must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if dtype != "float32" and statistics is not None:
        raise UserError(f"`statistics` are for `dtype=float32`, got {dtype!r}; normalise in the model")
    dataset = Dataset.of(data_dir)
    if cache_dir is not None or cache_bytes is not None:
        dataset = Dataset(dataset.location, dataset.manifest, cache=ShardCache.of(cache_dir, cache_bytes))
    parts = dataset.manifest.select(parts)
    _check_patches(dataset, parts, extractor)
    # On one host, an evaluation's batches keep the shards' order.
    num_streams = count_streams(batch_size) if training or num_hosts > 1 else 1
    own = host_streams(num_streams, host_index=host_index, num_hosts=num_hosts)
    shards = MappedShards(dataset, parts, with_track_ids=not training)
    with raise_shard_errors():
        table = _patch_table(shards, parts, extractor)
        if balanced:
            table = table.balanced(shards.labels())
        source = PatchSource(
            shards,
            table,
            extractor,
            dtype=dtype,
            normalizer=Normalizer(statistics, (patch_frames, dataset.manifest.mel_bands)),
            with_track_ids=not training,
        )
        streams = _streams(shards, table, num_streams, own, seed=seed if training else None, shuffles_all=in_memory)
        if in_memory:
            source.keep([block for stream in streams for block in stream.all_blocks()])
    steps = -(-table.patches // batch_size)
    end = _ENDLESS if epochs is None else epoch + epochs
    reader = BatchReader(source, streams, rows=batch_size // num_streams, steps=steps)
    batches = _as_dataset(reader, source, first=epoch + step // steps, end=end, step=step % steps)
    if epochs is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(max(0, (end - epoch) * steps - step)))
    return batches.prefetch(_PREFETCHED_BATCHES)


def patches_per_label(
    data_dir: storage.Location | Dataset, *, parts: Iterable[str], patch_frames: int, patch_mode: str = WINDOWS
) -> np.ndarray:
    """Return how many patches of each label the parts of a dataset give, [labels] int64; reads where all records lie.

    Raises:
      UserError: as `load`.
    """
    dataset = Dataset.of(data_dir)
    extractor = PatchExtractor(patch_mode, patch_frames, patch_frames)
    shards = MappedShards(dataset, dataset.manifest.select(parts), with_track_ids=False)
    with raise_shard_errors():
        frames, labels = shards.frames(), shards.labels()
    return count_per_label(extractor.counts(frames), labels, num_labels=len(dataset.manifest.labels))


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


def _patch_table(shards: MappedShards, parts: Sequence[str], extractor: PatchExtractor) -> PatchTable:
    """Return where all patches lie. Only where records differ in their number of patches, their lengths are read.

    Raises:
      ShardError: a shard cannot be read for that.
    """
    manifest = shards.dataset.manifest
    lengths = [item for part in parts for item in manifest.parts[part].record_frames.items()]
    counts = {extractor.count(frames) for frames, _ in lengths}
    if len(counts) == 1:
        return PatchTable.of(shards.records, np.full(sum(shards.records), counts.pop(), np.int64))
    table = PatchTable.of(shards.records, extractor.counts(shards.frames()))
    if table.patches != (expected := sum(extractor.count(frames) * records for frames, records in lengths)):
        raise ShardError(
            f"{shards.dataset.location}: the records hold {table.patches} patches; the manifest says {expected}"
        )
    return table


def _streams(
    shards: MappedShards, table: PatchTable, num_streams: int, own: range, *, seed: int | None, shuffles_all: bool
) -> list[Stream]:
    """Return one host's streams."""
    record_bytes = sum(shard.bytes for shard in shards.shards) / max(1, sum(shards.records))
    size = block_records(record_bytes, num_streams, shuffle_bytes=SHUFFLE_BYTES)
    return [
        Stream(table, index, num_streams, block_records=size, seed=seed, shuffles_all=shuffles_all) for index in own
    ]


def _as_dataset(reader: BatchReader, source: PatchSource, *, first: int, end: int, step: int) -> tf.data.Dataset:
    """Return a reader's batches from a step of an epoch on; a bad shard ends them with a ShardError's text."""

    def generate() -> Iterator[Batch]:
        iterator = object()
        _in_flight.enter(iterator)
        try:
            for batch in reader.iterate(first, end, step):
                _in_flight.leave(iterator)
                yield batch
                # Before the question: whoever waits for the process's end sees this one, or this one sees the end.
                _in_flight.enter(iterator)
                if _in_flight.process_ends:
                    return
        except ShardError as error:
            raise _for_tensorflow(error) from None
        finally:
            _in_flight.leave(iterator)

    signature = [tf.TensorSpec([None, *source.shape, 1], source.dtype), tf.TensorSpec([None], tf.int32)]
    if source.with_track_ids:
        signature.append(tf.TensorSpec([None], tf.string))
    batches = tf.data.Dataset.from_generator(generate, output_signature=tuple(signature))
    options = tf.data.Options()
    # There is nothing to tune, and the end of an iterator may wait for the tuner's next look: seconds, on two cores.
    options.autotune.enabled = False
    options.deterministic = True
    # Hosts are given their streams; left on, this would silently drop data.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)
