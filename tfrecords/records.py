"""The records of a dataset as NumPy arrays, one after another, read without TensorFlow."""

from collections.abc import Iterator
from pathlib import Path

from tfrecords.example import Record, decode
from tfrecords.manifest import Manifest
from tfrecords.shard import ShardError, read_records


def iterate(manifest: Manifest, data_dir: str | Path, part: str) -> Iterator[Record]:
    """Yields the records of one part, in order.

    Raises:
      ShardError: a shard is torn or corrupt, or a record does not parse; the message names file and offset or record.
    """
    for shard in manifest.parts[part].shards:
        path = Path(data_dir) / shard.file
        with path.open("rb") as file:
            for index, serialized in enumerate(read_records(file, str(path))):
                try:
                    yield decode(serialized, mel_bands=manifest.mel_bands, dtype=manifest.dtype)
                except ValueError as error:
                    raise ShardError(f"{path}: record {index}: {error}") from None
