"""Files by their location: a path or file:// URL of this machine, or an object of a store (gs://, s3://, memory://).

A file appears whole or not at all: here under a temporary name that is renamed, in a store by one put. Directories of a
store are only beginnings of names. memory:// lives as long as the process, for tests.

Credentials and endpoints come from the environment: of Google, application default credentials and
STORAGE_EMULATOR_HOST; of S3, AWS_ACCESS_KEY_ID and the like or ~/.aws, AWS_REGION and AWS_ENDPOINT_URL, where an http://
address is taken as it is.

Stores are reached by obstore, as it is the faster: 40 MB in 64 ranges, 16 at a time, came from fake-gcs-server at 960
MB/s, with gcsfs at 380; from moto's S3 server, which limits both to 10 MB/s, with 89 ms of processor time, with s3fs
260. It is imported with the first URL, in a few hundredths of a second, and needs no event loop.
"""

import collections
import concurrent.futures
import contextlib
import errno
import functools
import io
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from tfrecords.common import files, shutdown

SCHEMES = ("gs", "s3", "memory")
# Ends the names of files that are being written on this machine.
TEMPORARY = ".tmp"
# What is read of an object at a time, and how many such blocks are in flight ahead of a reader: at 50 ms a request,
# 160 MB/s.
_BLOCK_BYTES = 2 << 20
_BLOCKS_AHEAD = 4
# Blocks that an open file keeps: decoders jump between a header and the data.
_BLOCKS_KEPT = 8
# Requests in flight, of a process.
_REQUESTS = 32
# What is written is kept in memory up to this size, then on the disk, until it is put whole.
_SPOOL_BYTES = 64 << 20

Location = str | os.PathLike[str]


def scheme_of(location: Location) -> str | None:
    """Return the scheme of a URL, or None for a path of this machine.

    Example:
      >>> scheme_of("gs://bucket/data"), scheme_of("data/gs:")
      ('gs', None)
    """
    scheme, mark, _ = os.fspath(location).partition("://")
    return scheme.lower() if mark and scheme.isalnum() else None


def local_path(location: Location) -> Path | None:
    """Return the path of a file or directory of this machine, None for a store's.

    Raises:
      OSError: it is a URL of another kind than this module reads.

    Example:
      >>> str(local_path("file:///data/a%20b")), local_path("s3://bucket/data")
      ('/data/a b', None)
    """
    scheme = scheme_of(location)
    if scheme is None:
        return Path(location)
    if scheme == "file":
        return Path(unquote(urlsplit(os.fspath(location)).path) or "/")
    if scheme not in SCHEMES:
        raise _error(errno.EPROTONOSUPPORT, f"{scheme}:// is not known; give a path, gs:// or s3://", location)
    return None


def is_remote(location: Location) -> bool:
    """Return whether a location is in a store; errors are those of `local_path`."""
    return local_path(location) is None


def as_location(text: Location) -> str | Path:
    """Return a location as programs keep it: a store's as a URL without a slash at its end, else a path."""
    path = local_path(text)
    return os.fspath(text).rstrip("/") if path is None else path


def plain(location: Location) -> str:
    """Return a location as text, a file:// URL as the path that it stands for.

    Example:
      >>> plain("file:///data"), plain("data/"), plain("gs://bucket/data")
      ('/data', 'data/', 'gs://bucket/data')
    """
    return str(local_path(location)) if scheme_of(location) == "file" else os.fspath(location)


def join(location: Location, *names: str) -> str:
    """Return the location of what is below a directory.

    Example:
      >>> join("gs://bucket/data/", "a", "b"), join("data", "a")
      ('gs://bucket/data/a/b', 'data/a')
    """
    if scheme_of(location) in SCHEMES:
        return "/".join([os.fspath(location).rstrip("/"), *(name.strip("/") for name in names)])
    return os.path.join(plain(location), *names)  # noqa: PTH118 - a name may be no valid path


def split(location: Location) -> tuple[str, str]:
    """Return the directory and the name of a file.

    Example:
      >>> split("gs://bucket/data/a.wav")
      ('gs://bucket/data', 'a.wav')
    """
    if is_remote(location):
        directory, _, name = os.fspath(location).rpartition("/")
        return directory, name
    return os.path.split(plain(location))


def size(location: Location) -> int | None:
    """Return the size of a file in bytes, None if there is no such file.

    Raises:
      OSError: that cannot be found out.
    """
    path = local_path(location)
    if path is not None:
        return path.stat().st_size if path.is_file() else None
    store, name = _store(location)
    if not name:
        return None
    try:
        return _request(location, lambda: store.head(name))["size"]
    except FileNotFoundError:
        return None


def exists(location: Location) -> bool:
    """Return whether there is such a file or directory.

    Raises:
      OSError: that cannot be found out.
    """
    path = local_path(location)
    if path is not None:
        return path.exists()
    return size(location) is not None or is_directory(location)


def is_directory(location: Location) -> bool:
    """Return whether there is such a directory; in a store, whether it holds a file.

    Raises:
      OSError: that cannot be found out.
    """
    path = local_path(location)
    return path.is_dir() if path is not None else next(_listed(location, first=True), None) is not None


def identity(location: Location) -> str:
    """Return what differs between versions of a file, as far as that is known: its size and its time or its tag.

    Raises:
      OSError: there is no such file.
    """
    path = local_path(location)
    if path is not None:
        status = path.stat()
        return f"{status.st_size}:{status.st_mtime}"
    store, name = _store(location)
    head = _request(location, lambda: store.head(name))
    return f"{head['size']}:{head['e_tag'] or head['last_modified']}"


def list_files(directory: Location) -> dict[str, int]:
    """Return name -> size in bytes of the files directly in a directory, sorted; none if there is no such directory.

    Raises:
      OSError: it cannot be listed.
    """
    path = local_path(directory)
    if path is not None:
        return _list_local(path)
    store, prefix = _store(directory)
    listed = _request(directory, lambda: store.list_directory(prefix))
    begin = len(prefix) + 1 if prefix else 0
    # Some tools write empty objects, named as the directory itself or ending in a slash, to stand for directories.
    sizes = {item["path"][begin:]: item["size"] for item in listed}
    return {name: sizes[name] for name in sorted(sizes) if name and "/" not in name}


def walk(directory: Location) -> Iterator[tuple[str, int]]:
    """Yield location and size of every file in and below a directory of a store, sorted.

    Raises:
      OSError: it cannot be listed.
    """
    path = local_path(directory)
    if path is not None:
        for each in sorted(path.rglob("*")):
            if each.is_file():
                yield str(each), each.stat().st_size
        return
    bucket = _bucket(directory)
    for name, name_size in sorted(_listed(directory)):
        yield f"{bucket}/{name}", name_size


def open_file(location: Location) -> io.BufferedReader:
    """Open a file for reading, at any offset. Of an object, blocks are fetched ahead where it is read in order.

    Raises:
      OSError: it is not there, cannot be opened, or is a pipe or a device. Reading raises it, too: the store fails, or
        the object was replaced since it was opened.
    """
    path = local_path(location)
    if path is not None:
        return files.open_regular(path)
    return io.BufferedReader(_ObjectReader(location))


def read(location: Location) -> bytes:
    """Return a whole file.

    Raises:
      OSError: as `open_file`.
    """
    path = local_path(location)
    if path is not None:
        with files.open_regular(path) as file:
            return file.read()
    store, name = _store(location)
    return bytes(_request(location, lambda: store.get(name)[1]))


def read_text(location: Location) -> str:
    """Return the text of a UTF-8 file.

    Raises:
      OSError: as `open_file`.
      UnicodeDecodeError: it is not UTF-8 text.
    """
    return read(location).decode("utf-8")


def read_range(location: Location, start: int, end: int) -> memoryview:
    """Return the bytes from `start` to before `end` of a file.

    Raises:
      OSError: as `open_file`, or the file ends before `end`.
    """
    path = local_path(location)
    if path is not None:
        with files.open_regular(path) as file:
            data = memoryview(os.pread(file.fileno(), end - start, start))
    else:
        store, name = _store(location)
        data = _request(location, lambda: store.get(name, start, end)[1]) if end > start else memoryview(b"")
    if len(data) != end - start:
        raise _error(errno.EIO, f"ends at byte {start + len(data)}, before {end}", location)
    return data


def read_ranges(
    location: Location, ranges: Iterable[tuple[int, int]], *, in_flight: int = _BLOCKS_AHEAD
) -> Iterator[memoryview]:
    """Yield the bytes of each range (start, end) of a file, in order; up to `in_flight` are fetched ahead.

    Raises:
      OSError: as `read_range`.
    """
    pending: collections.deque[concurrent.futures.Future[memoryview]] = collections.deque()
    try:
        for start, end in ranges:
            pending.append(_pool().submit(read_range, location, start, end))
            if len(pending) > in_flight:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def write(location: Location, data: bytes) -> None:
    """Write a whole file; an earlier one is replaced.

    Raises:
      OSError: it cannot be written; an earlier file is unchanged.
    """
    with writing(location) as file:
        file.write(data)


def write_text(location: Location, text: str) -> None:
    """Write a whole file as UTF-8; errors are those of `write`."""
    write(location, text.encode("utf-8"))


@contextlib.contextmanager
def writing(
    location: Location, *, temporary_dir: Location | None = None, suffix: Callable[[], str] = str
) -> Iterator[IO[bytes]]:
    """Open a file for writing; it appears, or is replaced, when the block ends without an error.

    If a signal ends this process, the temporary file is deleted.

    Args:
      location: the file.
      temporary_dir: on this machine, the directory of the temporary file; by default the file's own.
      suffix: gives the end of the file's name once all is written, such as a checksum; by default nothing.

    Raises:
      OSError: it cannot be written; an earlier file is unchanged.
    """
    path = local_path(location)
    if path is None:
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
            yield spool
            spool.seek(0)
            put(os.fspath(location) + suffix(), spool)
        return
    directory = path.parent if temporary_dir is None else Path(temporary_dir)
    directory.mkdir(parents=True, exist_ok=True)
    # The name is cut where the mark would make it too long.
    mark = f".{secrets.token_hex(8)}{TEMPORARY}"
    temporary = directory / (files.shorten_name(path.name, files.MAX_NAME_BYTES - len(mark)) + mark)
    with shutdown.cleanup_on_signal(temporary.unlink):
        try:
            with temporary.open("wb") as file:
                yield file
            temporary.replace(path.with_name(path.name + suffix()))
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def put(location: Location, file: IO[bytes]) -> None:
    """Write an object of a store from an open file, whole.

    Raises:
      OSError: it cannot be written.
    """
    store, name = _store(location)

    def send() -> None:
        file.seek(0)
        store.put(name, file)

    _request(location, send)


def create(location: Location, data: bytes) -> bool:
    """Write a small file unless there is one already; return whether it was written. Of several processes, one does.

    Raises:
      OSError: it cannot be written.
    """
    path = local_path(location)
    if path is not None:
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        return True
    store, name = _store(location)
    try:
        _request(location, lambda: store.create(name, data))
    except FileExistsError:
        # A request that was answered too late, and sent again, finds its own file.
        return read(location) == data
    return True


def move(source: Location, target: Location) -> None:
    """Give a file another name, in one step on this machine; a store copies it, whole, before it deletes the first.

    Raises:
      OSError: as `copy`.
    """
    if is_remote(source) or is_remote(target):
        copy(source, target)
        delete([source])
    else:
        os.replace(plain(source), plain(target))  # noqa: PTH105 - a name may be no valid path


def copy(source: Location, target: Location) -> None:
    """Copy a file, whole; within a bucket the store does it.

    Raises:
      OSError: it cannot be read or written.
    """
    if is_remote(source) and _bucket(source) == _bucket(target):
        store, name = _store(source)
        _request(source, lambda: store.copy(name, _store(target)[1]))
        return
    with open_file(source) as reader, writing(target) as writer:
        shutil.copyfileobj(reader, writer, _BLOCK_BYTES)


def delete(locations: Iterable[Location]) -> None:
    """Delete files; those that do not exist are skipped.

    Raises:
      OSError: one cannot be deleted.
    """
    for _ in _pool().map(_delete_one, list(locations)):
        pass


def delete_tree(directory: Location) -> None:
    """Delete a directory and all that is below it, if it exists.

    Raises:
      OSError: something cannot be deleted.
    """
    path = local_path(directory)
    if path is None:
        delete([location for location, _ in walk(directory)])
    else:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)


def make_directories(directory: Location) -> None:
    """Create a directory and its parents, unless it exists; in a store there is nothing to create.

    Raises:
      OSError: it cannot be created.
    """
    path = local_path(directory)
    if path is None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise _error(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory) from None


def download(
    directory: Location, target: Path, *, only: Callable[[str], bool] = lambda name: True, also: Iterable[str] = ()
) -> None:
    """Copy the files in and below a directory of a store to one of this machine, several at a time.

    Args:
      directory: in a store.
      target: the directory to copy to.
      only: whether to copy a file, by its path below the directory.
      also: files to copy if they are there, also where the store's list, which may be older, does not say so.

    Raises:
      OSError: a file cannot be read or written.
    """
    begin = len(os.fspath(directory).rstrip("/")) + 1
    names = [location[begin:] for location, _ in walk(directory) if only(location[begin:])]

    def fetch(name: str) -> None:
        # Not by open_file, whose blocks would wait for this very pool. The list may have what is deleted by now.
        with contextlib.suppress(FileNotFoundError):
            data = read(join(directory, name))
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, data)

    for _ in _pool().map(fetch, sorted({*names, *also})):
        pass


def _delete_one(location: Location) -> None:
    path = local_path(location)
    with contextlib.suppress(FileNotFoundError):
        if path is not None:
            path.unlink()
        else:
            store, name = _store(location)
            _request(location, lambda: store.delete(name))


def _list_local(directory: Path) -> dict[str, int]:
    sizes = {}
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                # Files that disappear meanwhile and broken links are skipped.
                with contextlib.suppress(OSError):
                    if entry.is_file():
                        sizes[entry.name] = entry.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return dict(sorted(sizes.items()))


def _listed(directory: Location, *, first: bool = False) -> Iterator[tuple[str, int]]:
    """Yield name in its bucket and size of the files below a directory, all or the first few."""
    store, prefix = _store(directory)
    for name, name_size in _request(directory, lambda: store.list(prefix, first=first)):
        # Empty objects with a slash at the end stand for directories.
        if not name.endswith("/"):
            yield name, name_size


class _ObjectReader(io.RawIOBase):
    """An object as a file, of which blocks are fetched and kept."""

    def __init__(self, location: Location) -> None:
        super().__init__()
        self.name = os.fspath(location)
        self._store, self._object = _store(location)
        self._position = 0
        self._blocks: collections.OrderedDict[int, concurrent.futures.Future[memoryview]] = collections.OrderedDict()
        # One request for the size and all of a small object.
        self._meta, data = _request(location, lambda: self._store.get(self._object, 0, _BLOCK_BYTES))
        self._size = self._meta["size"]
        self._last = 0
        self._blocks[0] = concurrent.futures.Future()
        self._blocks[0].set_result(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size or not len(buffer):
            return 0
        number, begin = divmod(self._position, _BLOCK_BYTES)
        data = self._block(number)[begin : begin + len(buffer)]
        memoryview(buffer).cast("B")[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        for future in self._blocks.values():
            future.cancel()
        self._blocks.clear()
        super().close()

    def _block(self, number: int) -> memoryview:
        in_order, self._last = number in (self._last, self._last + 1), number
        count = -(-self._size // _BLOCK_BYTES)
        for wanted in range(number, min(count, number + 1 + (_BLOCKS_AHEAD if in_order else 0))):
            if wanted not in self._blocks:
                self._blocks[wanted] = _pool().submit(self._fetch, wanted)
        self._blocks.move_to_end(number)
        data = self._blocks[number].result()
        while len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return data

    def _fetch(self, number: int) -> memoryview:
        start = number * _BLOCK_BYTES
        end = min(start + _BLOCK_BYTES, self._size)
        meta, data = _request(self.name, lambda: self._store.get(self._object, start, end))
        if (meta["size"], meta["e_tag"]) != (self._size, self._meta["e_tag"]):
            raise _error(errno.ESTALE, "was replaced while it was read; run the command again", self.name)
        return data


@functools.cache
def _pool() -> "concurrent.futures.ThreadPoolExecutor":
    """Return the threads that wait for stores."""
    return concurrent.futures.ThreadPoolExecutor(_REQUESTS, "storage")


_lock = threading.Lock()


def _store(location: Location) -> tuple[Any, str]:
    """Return the bucket as an `object_store.Store`, and the name of an object in it.

    Raises:
      OSError: the bucket cannot be set up, or the location names none.
    """
    url = os.fspath(location)
    scheme, bucket, name = scheme_of(url) or "", *_bucket_and_name(url)
    if not bucket:
        raise _error(errno.EINVAL, f"names no bucket; write {scheme}://BUCKET/NAME", location)
    # Imported with the first URL: obstore is slow to import, and most commands read local files.
    from tfrecords import object_store

    object_store.check_process()
    with _lock:
        return object_store.open_store(scheme, bucket), name


def _bucket_and_name(url: str) -> tuple[str, str]:
    bucket, _, name = url.partition("://")[2].partition("/")
    return bucket, name.strip("/")


def _bucket(location: Location) -> str:
    """Return the URL of a location's bucket, an empty text on this machine."""
    if local_path(location) is not None:
        return ""
    return f"{scheme_of(location)}://{_bucket_and_name(os.fspath(location))[0]}"


def _request(location: Location, send: Callable[[], Any]) -> Any:
    from tfrecords import object_store

    return object_store.request(os.fspath(location), send)


def _error(number: int, reason: str, location: Location) -> OSError:
    """Return the error of the class that belongs to the number, such as FileNotFoundError of ENOENT."""
    return OSError(number, reason, os.fspath(location))
