"""What is said when a shard turns out to be corrupt in the middle of an epoch."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf

from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest
from tfrecords.shard import ShardError, open_shard, read_records

_SHARD_ERROR = re.compile(rf"\b{ShardError.__name__}: (.*)")


@contextlib.contextmanager
def reading(data_dir: str | Path, parts: Iterable[str] = ("all",)) -> Iterator[None]:
    """Around whatever takes batches from `load`: a corrupt shard, found only when it is read, becomes a UserError.

    Where TensorFlow itself reads (`ReaderOptions.in_graph`), it says that data are lost, but not where; so the parts'
    shards are read once more, up to the first error.

    Raises:
      UserError: a shard is corrupt; the message names the file and the offset in bytes.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        # What `streaming` raises comes as TensorFlow's error, whose text has the name and the message.
        if found := _SHARD_ERROR.search(error.message or ""):
            raise UserError(f"{found[1]}; write the dataset again") from None
        raise
    except tf.errors.DataLossError as error:
        for path in (Path(data_dir) / file for file in _files(data_dir, parts)):
            _check(path)
        lines = (error.message or "").splitlines() or ["data loss"]
        raise UserError(
            f"{data_dir}: TensorFlow met corrupt data ({lines[0]}), but the shards are sound now; where there is a "
            "cache directory, delete it, else look at the disk"
        ) from None


def _files(data_dir: str | Path, parts: Iterable[str]) -> list[str]:
    manifest = Manifest.load(data_dir)
    return [shard.file for part in manifest.select(parts) for shard in manifest.parts[part].shards]


def _check(path: Path) -> None:
    """Raises UserError at the first record of a shard that cannot be read."""
    try:
        with open_shard(path) as file:
            for _ in read_records(file, str(path)):
                pass
    except ShardError as error:
        raise UserError(f"{error}; write the dataset again") from None
