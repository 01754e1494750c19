"""Shards copied to a disk of this machine, each under its checksum, so that no other content is taken for it."""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfrecords import shutdown
from tfrecords.command_line import UserError
from tfrecords.manifest import Shard
from tfrecords.shard import ShardError, open_shard

_BLOCK_BYTES = 1 << 20


def copy_shards(files: Sequence[str], shards: Sequence[Shard], directory: str | Path) -> list[str]:
    """Paths of copies of the shards' files; what is there already is not copied again.

    Raises:
      UserError: a shard cannot be read, its content is not the manifest's, or the directory cannot be written.
    """
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_copied(Path(file), shard, folder) for file, shard in zip(files, shards, strict=True)]
    except OSError as error:
        raise UserError(f"the cache {folder} cannot be written: {error.strerror}") from None


def _copied(file: Path, shard: Shard, folder: Path) -> str:
    copy = folder / f"{shard.sha256}.tfrecord"
    if not copy.is_file() or copy.stat().st_size != shard.bytes:
        # Of this copy alone: processes of several hosts may fill one cache at once.
        temporary = folder / f".tmp-{uuid.uuid4().hex}"
        with shutdown.if_ended(temporary.unlink):
            try:
                with temporary.open("wb") as copying:
                    copying.writelines(_blocks(file))
                with temporary.open("rb") as written:
                    if hashlib.file_digest(written, "sha256").hexdigest() != shard.sha256:
                        raise UserError(f"{file}: its SHA-256 is not the manifest's; write the dataset again")
                temporary.replace(copy)
            finally:
                temporary.unlink(missing_ok=True)
    return str(copy)


def _blocks(file: Path) -> Iterator[bytes]:
    """A shard's bytes; what goes wrong with them is no fault of the cache.

    Raises:
      ShardError: the file cannot be read.
    """
    with open_shard(file) as opened:
        try:
            while block := opened.read(_BLOCK_BYTES):
                yield block
        except OSError as error:
            raise ShardError(f"{file} cannot be read: {error.strerror}") from None
