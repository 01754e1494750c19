"""Shards of stores on a local disk: fetched whole, checked, kept while there is room, shared by processes.

Whatever reads a dataset in a store reads such files, as it would the files of a local dataset; only `verify` asks the
store itself. A shard's name in the cache is its SHA-256 in the manifest. So a file there is never out of date, datasets
share what is equal, and an object that was replaced or damaged is refused when it is fetched. Ranges in memory would
need no disk, but every epoch, evaluation and fold would fetch all again, and to find where records lie costs a second
reading.

Processes agree by locks on the directory's files (flock): one fetches a shard, the others wait for it. What is removed
while another process reads it stays readable there.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import io
import os
import queue
import shutil
import stat
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence, Set
from itertools import pairwise
from pathlib import Path
from typing import Any

from absl import flags

from tfrecords import storage
from tfrecords.common import files
from tfrecords.common.command_line import UserError
from tfrecords.manifest import Shard
from tfrecords.shard import ShardError

DIR_VARIABLE, BYTES_VARIABLE = "TFRECORDS_CACHE_DIR", "TFRECORDS_CACHE_BYTES"
DEFAULT_BYTES = 16 << 30
# Bytes of one request, and requests in flight of one shard ahead of the one whose answer is written.
_REQUEST_BYTES = 4 << 20
_REQUESTS_AHEAD = 3
# Shards that are fetched at a time, ahead of the reader.
_FETCHED_AT_ONCE = 12
# How many sets of shards a reader's next ones are told ahead.
_ROUNDS_AHEAD = 32
# Age of a temporary file that a killed process has left.
_LEFT_AFTER_S = 3600
# Cached files that this process has compared with their checksum: a disk may have lost what it was given.
_checked: set[Path] = set()


class CacheError(ShardError):
    """A shard that cannot be kept on the local disk; the message names the cache's directory."""

    advice = "name another directory by `cache_dir`"


@dataclasses.dataclass(frozen=True)
class ShardCache:
    """A directory that holds shards of stores, those least recently used removed where there is no room for another.

    Attributes:
      directory: of this machine; made when it is needed. Several processes may share it.
      max_bytes: of all its files together. A shard that is larger is fetched all the same, and removed with the next.
    """

    directory: Path
    max_bytes: int

    def __post_init__(self) -> None:
        if self.max_bytes < 0:
            raise UserError(f"`cache_bytes` must be at least 0, got {self.max_bytes}")

    @classmethod
    def of(cls, directory: str | os.PathLike[str] | None = None, max_bytes: int | None = None) -> "ShardCache":
        """Return a cache; what is None is that of the environment, or else ~/.cache and 16 GiB.

        Raises:
          UserError: max_bytes is below 0, or the variable of the environment no number.
        """
        directory = directory or os.environ.get(DIR_VARIABLE) or files.user_cache_dir() / "shards"
        if max_bytes is None:
            text = os.environ.get(BYTES_VARIABLE) or str(DEFAULT_BYTES)
            if not text.isascii() or not text.isdigit():
                raise UserError(f"{BYTES_VARIABLE} must be a number of bytes, got {text!r}")
            max_bytes = int(text)
        if storage.scheme_of(directory) is not None:
            raise UserError(f"`cache_dir` must be a directory of this machine, got {os.fspath(directory)!r}")
        return cls(Path(directory).expanduser().absolute(), max_bytes)

    def open(self, url: str, shard: Shard) -> io.BufferedReader:
        """Return a shard's file, open for reading; where the cache lacks it, fetch it first.

        Raises:
          ShardError: the store's object cannot be read, or is not the one that the manifest describes.
          CacheError: the directory cannot be used, or the disk is full.
        """
        path = self.directory / shard.sha256
        try:
            if path in _checked and (kept := self._kept(path, shard)):
                return kept
            self.directory.mkdir(parents=True, exist_ok=True)
            with _locked(self.directory / f".lock-{shard.sha256[:2]}"):
                return self._kept(path, shard) or self._fetched(url, shard, path)
        except ShardError:
            raise
        except UserError as error:
            raise CacheError(str(error)) from None
        except OSError as error:
            raise CacheError(f"{self.directory} cannot be used: {error.strerror}") from None

    def _kept(self, path: Path, shard: Shard) -> io.BufferedReader | None:
        """Return a file that is in the cache, marked as used; None if it is not there or damaged, and removed then."""
        try:
            file = files.open_regular(path)
        except FileNotFoundError:
            return None
        if os.fstat(file.fileno()).st_size == shard.bytes and (path in _checked or _sha256(file) == shard.sha256):
            # It may have been removed meanwhile; it is still open.
            with contextlib.suppress(OSError):
                os.utime(path)
            _checked.add(path)
            return file
        file.close()
        path.unlink(missing_ok=True)
        return None

    def _fetched(self, url: str, shard: Shard, path: Path) -> io.BufferedReader:
        # Not flushed to the disk: whoever finds the file after a power failure compares its checksum.
        with files.atomic_write(path, sync=False) as temporary:
            with _locked(self.directory / ".lock"), temporary.open("xb") as file:
                self._make_room(shard.bytes)
                # At once as large as it will be, so that the other processes count it.
                file.truncate(shard.bytes)
            _download(url, shard, temporary)
            # Before it has its name: another process may remove it by then.
            opened = files.open_regular(temporary)
        _checked.add(path)
        return opened

    def _make_room(self, size: int) -> None:
        """Remove the shards least recently used until there is room for so many bytes, or none is left."""
        total, kept = 0, []
        for path in self.directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    continue
                total += status.st_size
                if files.is_temporary(path.name):
                    if time.time() - status.st_mtime > _LEFT_AFTER_S:
                        path.unlink()
                elif not path.name.startswith("."):
                    kept.append((status.st_mtime_ns, status.st_size, path))
        for _, freed, path in sorted(kept):
            if total + size <= self.max_bytes and shutil.disk_usage(self.directory).free > size:
                return
            path.unlink(missing_ok=True)
            total -= freed


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that one thread of one process has at a time; the system releases it if the process dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        # Where a file system has no locks, two processes may fetch the same shard; each file is whole all the same.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sha256(file: io.BufferedReader) -> str:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


def _download(url: str, shard: Shard, path: Path) -> None:
    cuts = [*range(0, shard.bytes, _REQUEST_BYTES), shard.bytes]
    digest = hashlib.sha256()
    with path.open("r+b") as file:
        for piece in _pieces(url, cuts):
            file.write(piece)
            digest.update(piece)
    if digest.hexdigest() != shard.sha256:
        raise ShardError(f"{url}: its SHA-256 is not the manifest's; it is damaged, or was replaced")


def _pieces(url: str, cuts: Sequence[int]) -> Iterator[memoryview]:
    """Yield an object's bytes between cuts; what goes wrong here is the store's fault, not that of the cache."""
    try:
        yield from storage.read_ranges(url, pairwise(cuts), in_flight=_REQUESTS_AHEAD)
    except OSError as error:
        raise ShardError(f"{url} cannot be read: {error.strerror}") from None


class FetchAhead:
    """Fetches what a reader will need next, several at a time, in threads that end with the process.

    Args:
      rounds: of all that will be read, in order: a key, each larger than the one before, and what is needed by then.
      fetch: gets one of these. Its errors are left for the reader to meet.
      size: of one of these, in bytes.
      max_bytes: of what is fetched ahead together.
    """

    def __init__(
        self,
        rounds: Iterator[tuple[Any, Set[int]]],
        *,
        fetch: Callable[[int], object],
        size: Callable[[int], int],
        max_bytes: int,
    ) -> None:
        self._rounds = rounds
        self._fetch = fetch
        self._size = size
        self._max_bytes = max_bytes
        self._ahead: deque[tuple[Any, Set[int]]] = deque()
        # In how many of the rounds ahead each is needed.
        self._uses: Counter[int] = Counter()
        self._is_closed = False

    def reach(self, key: Any) -> None:
        """Go on to what follows: the reader has come to the round of that key."""
        while self._ahead and self._ahead[0][0] < key:
            self._uses.subtract(self._ahead.popleft()[1])
            self._uses = +self._uses
        while len(self._ahead) < _ROUNDS_AHEAD and sum(map(self._size, self._uses)) < self._max_bytes:
            if (upcoming := next(self._rounds, None)) is None:
                return
            for item in sorted(upcoming[1] - self._uses.keys()):
                _tasks().put(functools.partial(self._get, item))
            self._uses.update(upcoming[1])
            self._ahead.append(upcoming)

    def close(self) -> None:
        """Fetch nothing more."""
        self._is_closed = True

    def _get(self, item: int) -> None:
        if not self._is_closed:
            with contextlib.suppress(UserError, OSError):
                self._fetch(item)


@functools.cache
def _tasks() -> "queue.SimpleQueue[Callable[[], None]]":
    """Return the queue of what the threads that fetch ahead are to do. They do not hold up the end of the process."""
    tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            tasks.get()()

    for number in range(_FETCHED_AT_ONCE):
        threading.Thread(target=work, name=f"fetch_{number}", daemon=True).start()
    return tasks


def define_flags(flag_values: flags.FlagValues) -> None:
    """Define the flags of a command that reads a dataset."""
    flags.DEFINE_string(
        "cache_dir",
        None,
        "directory of this machine where shards of a dataset in a store are kept, shared by all commands that name it; "
        f"by default ${DIR_VARIABLE}, or ~/.cache/{files.CACHE_NAME}/shards",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "cache_bytes",
        None,
        f"most bytes there, the least recently used going first; by default ${BYTES_VARIABLE}, or {DEFAULT_BYTES}",
        lower_bound=0,
        flag_values=flag_values,
    )


def use_flags(flag_values: flags.FlagValues) -> None:
    """Make what the flags say the default of this process, and of those that it starts.

    Raises:
      UserError: as `ShardCache.of`.
    """
    cache = ShardCache.of(flag_values.cache_dir, flag_values.cache_bytes)
    if flag_values.cache_dir is not None:
        os.environ[DIR_VARIABLE] = str(cache.directory)
    if flag_values.cache_bytes is not None:
        os.environ[BYTES_VARIABLE] = str(cache.max_bytes)
