"""The patches of each epoch, chunk by chunk: read from shards, or kept in memory.

Records are read by Python, which moves their bytes twice: from the file into a record, from there into a chunk.
TensorFlow's own operations would move them five times, mostly into newly allocated memory, and take twice as long.
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfrecords import schema
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.epoch_order import EpochOrder, epoch_seed
from tfrecords.manifest import BandStatistics, Shard
from tfrecords.patches import Clips, PatchExtractor, select
from tfrecords.shard import ShardError

# Bytes of shards that are shuffled as one chunk; about four times as much is in use at once. Part of what decides the
# order.
_SHUFFLE_BYTES = 32 << 20
# TensorFlow copies an array that does not begin at a multiple of so many bytes.
_ALIGNMENT = 64
# The text that TensorFlow was given of each error -> the error's own. Shards are read ahead, so errors are met in other
# threads, and perhaps before the `raise_shard_errors` block in which TensorFlow raises them.
_texts: dict[str, str] = {}


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
        raise UserError(_with_advice(str(error))) from None
    except tf.errors.OpError as error:
        # A model may fail by itself before a bad shard's turn comes. The longest: one text may begin another.
        if met := max((text for text in list(_texts) if text in error.message), key=len, default=None):
            raise UserError(_with_advice(_texts[met])) from None
        raise


def _for_tensorflow(error: ShardError) -> ShardError:
    """Return the error to raise inside of a tf.data.Dataset, and keep its text for `raise_shard_errors`."""
    # TensorFlow passes on UTF-8 only.
    text = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
    _texts[text] = str(error)
    return ShardError(text)


def _with_advice(message: str) -> str:
    return f"{message}; write the dataset again"


@dataclasses.dataclass(frozen=True)
class HostShards:
    """The shards that one host reads.

    Attributes:
      dataset: the dataset.
      parts: the parts that all hosts read together.
      files: paths of the host's shards.
      shards: the same shards, as in the manifest.
      all_shards: whether these are all shards of the parts.
    """

    dataset: Dataset
    parts: Sequence[str]
    files: Sequence[str]
    shards: Sequence[Shard]
    all_shards: bool

    @classmethod
    def of(cls, dataset: Dataset, parts: Sequence[str], *, host_index: int, num_hosts: int) -> "HostShards":
        """Return every num_hosts-th shard of the parts.

        Raises:
          UserError: a shard is missing or has another size, or there are fewer shards than hosts.
        """
        files = dataset.check_files(parts)
        shards = [shard for part in parts for shard in dataset.manifest.parts[part].shards]
        if len(files) < num_hosts:
            raise UserError(
                f"{dataset.location}: {', '.join(parts)} have {len(files)} shards, too few for {num_hosts} hosts; "
                "write the dataset with a larger `num_shards`"
            )
        chosen = slice(host_index, None, num_hosts)
        return cls(dataset, parts, files[chosen], shards[chosen], all_shards=num_hosts == 1)

    @property
    def records(self) -> list[int]:
        """Number of records of each shard."""
        return [shard.records for shard in self.shards]

    @property
    def longest_record(self) -> int:
        """Frames of the longest record of the parts."""
        return max(frames for part in self.parts for frames in self.dataset.manifest.parts[part].record_frames)

    def patch_counts(self, extractor: PatchExtractor) -> tuple[int | None, int | None]:
        """Return the number of patches of every record and of all, None for what the manifest does not tell."""
        tables = [self.dataset.manifest.parts[part].record_frames for part in self.parts]
        counts = {extractor.count(frames) for table in tables for frames in table}
        if len(counts) == 1:
            uniform = counts.pop()
            return uniform, uniform * sum(self.records)
        total = sum(extractor.count(frames) * records for table in tables for frames, records in table.items())
        return None, total if self.all_shards else None


class ShardSource:
    """Patches read from shards for every epoch; in training each chunk is shuffled as one.

    Args:
      shards: the shards to read.
      extractor: what patches are; frames that are in none are not kept.
      seed: seed of the order; None for the shards' own order, in which clips have their track's id, too.
      chunk_records: records in a chunk; by default as many as hold _SHUFFLE_BYTES.
    """

    def __init__(
        self, shards: HostShards, extractor: PatchExtractor, *, seed: int | None, chunk_records: int | None = None
    ) -> None:
        record_bytes = sum(shard.bytes for shard in shards.shards) / max(1, sum(shards.records))
        self._shards = shards
        self._extractor = extractor
        self._seed = seed
        self._order = EpochOrder(shards.files, shards.records, seed)
        self._chunk_records = chunk_records or max(1, int(_SHUFFLE_BYTES / max(1.0, record_bytes)))
        self._max_rows = min(self._chunk_records * shards.longest_record, sum(shard.frames for shard in shards.shards))
        self._patches_per_record, self._total = shards.patch_counts(extractor)

    def count(self) -> int:
        """Return the number of patches of an epoch; reads the shards once if the manifest does not tell.

        Raises:
          ShardError: a shard cannot be read for that.
        """
        return sum(self.patch_counts(0)) if self._total is None else self._total

    def chunks(self, epoch: int, end: int, skip: int) -> tf.data.Dataset:
        """Return (whether it is its epoch's last, Clips: where its patches lie) of each chunk.

        Args:
          epoch: the first epoch.
          end: the epoch after the last.
          skip: patches of the first epoch to leave out; chunks before them are not decoded.

        Raises:
          ShardError: a shard cannot be read, where that is needed to find those patches' end.
        """
        first_chunk, passed = self._chunk_of(epoch, skip)
        last_chunk = math.ceil(sum(self._shards.records) / self._chunk_records) - 1

        def index(
            number: tf.Tensor, chunk: tf.Tensor, log_mel: tf.Tensor, about: dict[str, tf.Tensor]
        ) -> tuple[tf.Tensor, Clips]:
            order = None
            if self._seed is not None:
                order = tf.random.experimental.stateless_fold_in(epoch_seed(self._seed, number), chunk)
            is_first = (number == epoch) & (chunk == first_chunk)
            begin = tf.where(is_first, tf.constant(skip - passed, tf.int64), tf.constant(0, tf.int64))
            clips = _as_clips(log_mel, about, self._extractor)
            return chunk == last_chunk, select(self._extractor.index(clips, order), slice(begin, None))

        # One chunk is read while another is cut.
        return self.decoded_chunks(epoch, end, first_chunk).map(index).prefetch(1)

    def decoded_chunks(self, epoch: int, end: int, first: int) -> tf.data.Dataset:
        """Return the clips of each chunk; a bad shard or record ends the dataset with a ShardError's text.

        Args:
          epoch: the first epoch.
          end: the epoch after the last.
          first: the first chunk of the first epoch.

        Returns:
          A dataset of: epoch; number of the chunk in it; log_mel [rows, mel_bands], as stored: the used frames of all
          clips, one clip after another; and by the features' names, frames [clips] int64 (unused ones included), label
          [clips] int64 and, without a seed, track_id [clips] string.
        """
        manifest = self._shards.dataset.manifest
        number, clip = tf.TensorSpec([], tf.int64), tf.TensorSpec([None], tf.int64)
        log_mel = tf.TensorSpec([None, manifest.mel_bands], manifest.dtype)
        about = {schema.FRAMES: clip, schema.LABEL: clip}
        if self._seed is None:
            about[schema.TRACK_ID] = tf.TensorSpec([None], tf.string)

        def generate() -> Iterator[tuple[int, int, np.ndarray, dict[str, np.ndarray]]]:
            # One pool for each iterator, as several of the same dataset may run side by side.
            pool = _Pool((self._max_rows, manifest.mel_bands), np.dtype(manifest.dtype))
            try:
                for number in range(epoch, end):
                    begin = first if number == epoch else 0
                    for chunk, (rows, columns) in enumerate(self._read(pool, number, begin), begin):
                        yield number, chunk, rows, {name: columns[name] for name in about}
            except ShardError as error:
                raise _for_tensorflow(error) from None

        return tf.data.Dataset.from_generator(generate, output_signature=(number, number, log_mel, about))

    def patch_counts(self, epoch: int) -> Iterator[int]:
        """Yield the number of patches of each chunk of an epoch, whose records are read for that.

        Raises:
          ShardError: a shard or a record cannot be read.
        """
        counts = (self._extractor.count(len(record.log_mel)) for record in self._records(epoch, 0))
        while chunk := list(itertools.islice(counts, self._chunk_records)):
            yield sum(chunk)

    def _chunk_of(self, epoch: int, patch: int) -> tuple[int, int]:
        """Return the chunk of an epoch that holds a patch, and the number of patches before that chunk."""
        if not patch:
            return 0, 0
        if self._patches_per_record is not None:
            chunk_patches = self._patches_per_record * self._chunk_records
            chunk = patch // chunk_patches
            return chunk, chunk * chunk_patches
        chunk, passed = 0, 0
        for count in self.patch_counts(epoch):
            if passed + count > patch:
                break
            chunk, passed = chunk + 1, passed + count
        return chunk, passed

    def _read(self, pool: "_Pool", epoch: int, first: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Yield log_mel, in an array of the pool, and the other features of each chunk from the first on."""
        position = first * self._chunk_records
        left = sum(self._shards.records) - position
        rows, filled, clips = pool.take(), 0, list[_Clip]()
        for record in self._records(epoch, position):
            used = record.log_mel[: self._extractor.used(len(record.log_mel))]
            if filled + len(used) > len(rows):
                raise self._find_error()
            rows[filled : filled + len(used)] = used
            filled += len(used)
            clips.append(_clip(record))
            left -= 1
            if not left or len(clips) == self._chunk_records:
                yield rows[:filled], _columns(clips)
                rows, filled, clips = pool.take(), 0, []

    def _records(self, epoch: int, position: int) -> Iterator[schema.Record]:
        for serialized in self._order.iterate(epoch, position):
            try:
                record = self._shards.dataset.manifest.decode(serialized)
            except ValueError:
                raise self._find_error() from None
            yield record

    def _find_error(self) -> ShardError:
        """Return what is wrong with a record that could not be used: all are read again, up to the bad one."""
        dataset = self._shards.dataset
        try:
            for shard in self._shards.shards:
                for _ in dataset.shard_records(shard):
                    pass
        except ShardError as error:
            return error
        return ShardError(f"{dataset.location}: records have more frames than the manifest says")


class MemorySource:
    """Patches of clips that are read once and kept as float32; every epoch is one chunk.

    Args:
      shards: the shards to read, now.
      extractor: what patches are; frames that are in none are not kept.
      statistics: what normalises the clips; None leaves them as they are.
      seed: seed of the order; None for the shards' own order, in which clips have their track's id, too.

    Raises:
      ShardError: a shard is missing, torn or corrupt; the message names file and offset.
    """

    def __init__(
        self, shards: HostShards, extractor: PatchExtractor, *, statistics: BandStatistics | None, seed: int | None
    ) -> None:
        self._extractor = extractor
        self._seed = seed
        dataset = shards.dataset
        log_mel = np.empty((sum(shard.frames for shard in shards.shards), dataset.manifest.mel_bands), np.float32)
        filled, clips = 0, list[_Clip]()
        for record in itertools.chain.from_iterable(map(dataset.shard_records, shards.shards)):
            used = record.log_mel[: extractor.used(len(record.log_mel))]
            clip = log_mel[filled : filled + len(used)]
            clip[:] = used
            if statistics is not None:
                clip -= statistics.mean.astype(np.float32)
                clip *= 1 / statistics.scale.astype(np.float32)
            filled += len(used)
            clips.append(_clip(record))
        columns = _columns(clips)
        about = {name: tf.constant(columns[name], tf.int64) for name in (schema.FRAMES, schema.LABEL)}
        if seed is None:
            about[schema.TRACK_ID] = tf.constant(columns[schema.TRACK_ID], tf.string)
        self._clips = _as_clips(tf.constant(log_mel[:filled]), about, extractor)

    def count(self) -> int:
        """Return the number of patches of an epoch."""
        return int(tf.reduce_sum(self._extractor.counts(self._clips.frames)))

    def chunks(self, epoch: int, end: int, skip: int) -> tf.data.Dataset:
        """Return (True, Clips: where the patches lie) of each epoch; arguments as of `ShardSource.chunks`."""

        def index(number: tf.Tensor, clips: Clips) -> tuple[tf.Tensor, Clips]:
            order = None if self._seed is None else epoch_seed(self._seed, number)
            begin = tf.where(number == epoch, tf.constant(skip, tf.int64), tf.constant(0, tf.int64))
            return tf.constant(True), select(self._extractor.index(clips, order), slice(begin, None))

        # Given as elements and not captured by the function, clips stay out of the graph, which would grow with them.
        numbers = tf.data.Dataset.range(epoch, end)
        return tf.data.Dataset.zip(numbers, tf.data.Dataset.from_tensors(self._clips).repeat()).map(index)


# Frames, label, track id.
_Clip = tuple[int, int, bytes]


def _clip(record: schema.Record) -> _Clip:
    return len(record.log_mel), record.label, schema.to_bytes(record.track_id)


def _columns(clips: Sequence[_Clip]) -> dict[str, np.ndarray]:
    frames, labels, track_ids = zip(*clips, strict=True) if clips else ((), (), ())
    return {
        schema.FRAMES: np.array(frames, np.int64),
        schema.LABEL: np.array(labels, np.int64),
        schema.TRACK_ID: np.array(track_ids, object),
    }


def _as_clips(log_mel: tf.Tensor, columns: dict[str, tf.Tensor], extractor: PatchExtractor) -> Clips:
    about = dict(columns)
    frames = about.pop(schema.FRAMES)
    return Clips(log_mel, tf.cumsum(extractor.used_of(frames), exclusive=True), frames, about)


class _Pool:
    """Arrays to fill, reused once TensorFlow has released them: fresh memory costs more than filling it.

    Of an array that is larger than its contents, only the pages that were written take memory.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype) -> None:
        self._shape = shape
        self._dtype = dtype
        self._bytes = math.prod(shape) * dtype.itemsize
        self._free: list[np.ndarray] = []

    def take(self) -> np.ndarray:
        """Return an unused array of arbitrary contents; its memory is reused once its last view is deleted."""
        memory = self._free.pop() if self._free else np.empty(self._bytes + _ALIGNMENT, np.uint8)
        begin = -memory.ctypes.data % _ALIGNMENT
        array = np.asarray(_Loan(memory, self._free))
        return array[begin : begin + self._bytes].view(self._dtype).reshape(self._shape)


class _Loan:
    """Memory of a pool: every array made of it, views of views included, holds this object as its base."""

    def __init__(self, memory: np.ndarray, free: list[np.ndarray]) -> None:
        self.__array_interface__ = memory.__array_interface__
        self._memory = memory
        self._free = free

    def __del__(self) -> None:
        self._free.append(self._memory)
