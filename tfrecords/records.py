"""The records of a dataset as NumPy arrays, one after another, read without TensorFlow."""

from collections.abc import Iterator
from pathlib import Path

from tfrecords.manifest import Manifest, Shard
from tfrecords.schema import Record, decode
from tfrecords.shard import ShardError, open_shard, read_records


def iterate(manifest: Manifest, data_dir: str | Path, part: str) -> Iterator[Record]:
    """Yields the records of one part, in order.

    Raises:
      ShardError: as `iterate_shard`.
    """
    for shard in manifest.parts[part].shards:
        yield from iterate_shard(manifest, data_dir, shard)


def iterate_shard(manifest: Manifest, data_dir: str | Path, shard: Shard) -> Iterator[Record]:
    """Yields the records of one shard, in order.

    Raises:
      ShardError: as `iterate_file`.
    """
    return iterate_file(manifest, Path(data_dir) / shard.file)


def iterate_file(manifest: Manifest, path: str | Path) -> Iterator[Record]:
    """Yields the records of one shard's file, in order.

    Raises:
      ShardError: as `iterate_any_label`, or a record's label is none of the manifest's.
    """
    for index, record in enumerate(iterate_any_label(manifest, path)):
        try:
            check_label(manifest, record)
        except ValueError as error:
            raise ShardError(f"{path}: record {index}: {error}") from None
        yield record


def iterate_any_label(manifest: Manifest, path: str | Path) -> Iterator[Record]:
    """Yields the records of one shard's file, in order, whatever their labels are.

    Raises:
      ShardError: it is missing, cannot be read, is torn or corrupt, or a record does not parse; the message names file
        and offset or record.
    """
    with open_shard(path) as file:
        for index, serialized in enumerate(read_records(file, str(path))):
            try:
                yield decode(serialized, mel_bands=manifest.mel_bands, dtype=manifest.dtype)
            except ValueError as error:
                raise ShardError(f"{path}: record {index}: {error}") from None


def check_label(manifest: Manifest, record: Record) -> None:
    """Raises ValueError when a record's label is none of the manifest's."""
    if not 0 <= record.label < len(manifest.labels):
        raise ValueError(f"label {record.label} is none of the {len(manifest.labels)} labels")
