"""What is said when a shard cannot be read, or turns out to be corrupt, in the middle of an epoch."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf

from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest
from tfrecords.records import iterate
from tfrecords.shard import ShardError

# What TensorFlow raises for a corrupt shard, one that is gone or may not be read, a failing disk, and a record that
# does not parse, whose bytes it quotes as if they were text; of these, only the first is of shards alone.
_OF_READING = (
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnknownError,
    tf.errors.InvalidArgumentError,
    UnicodeDecodeError,
)
_SHARD_ERROR = re.compile(rf"\b{ShardError.__name__}: (.*)")


@contextlib.contextmanager
def reading(data_dir: str | Path, parts: Iterable[str] = ("all",)) -> Iterator[None]:
    """Around whatever takes batches from `load`: what is wrong with a shard when it is read becomes a UserError.

    Where TensorFlow itself reads (`ReaderOptions.in_graph`), it says that something is wrong, but not where; so the
    parts' records are read once more, up to the first error.

    Raises:
      UserError: a shard cannot be read or is corrupt, or a record does not parse; the message names the file, and the
        offset in bytes or the record.
    """
    try:
        yield
    except _OF_READING as error:
        # What `streaming` raises comes as TensorFlow's error, whose text has the name and the message.
        message = getattr(error, "message", None) or ""
        if found := _SHARD_ERROR.search(message):
            raise UserError(f"{found[1]}; write the dataset again") from None
        _check(data_dir, parts)
        if not isinstance(error, tf.errors.DataLossError):
            raise
        lines = message.splitlines() or ["data loss"]
        raise UserError(
            f"{data_dir}: TensorFlow met corrupt data ({lines[0]}), but the shards are sound now; where there is a "
            "cache directory, delete it, else look at the disk"
        ) from None


def _check(data_dir: str | Path, parts: Iterable[str]) -> None:
    """Raises UserError at the first record of the parts that cannot be read."""
    manifest = Manifest.load(data_dir)
    try:
        for part in manifest.select(parts):
            for _ in iterate(manifest, data_dir, part):
                pass
    except ShardError as error:
        raise UserError(f"{error}; write the dataset again") from None
