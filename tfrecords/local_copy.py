"""Shards copied to a disk of this machine, each under its checksum, so that no other content is taken for it."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tfrecords.command_line import UserError
from tfrecords.manifest import Shard


def copy_shards(files: Sequence[str], shards: Sequence[Shard], directory: str | Path) -> list[str]:
    """Paths of copies of the shards' files; what is there already is not copied again.

    Raises:
      UserError: a shard's content is not the manifest's, or a file cannot be written.
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
        # Of this process alone: several may fill one cache at once.
        temporary = folder / f".tmp-{os.getpid()}-{shard.sha256}"
        try:
            shutil.copyfile(file, temporary)
            with temporary.open("rb") as written:
                if hashlib.file_digest(written, "sha256").hexdigest() != shard.sha256:
                    raise UserError(f"{file}: its SHA-256 is not the manifest's; write the dataset again")
            temporary.replace(copy)
        finally:
            temporary.unlink(missing_ok=True)
    return str(copy)
