"""A file system of Beam that is a dict, flat like the stores of a cloud: no directories, errors of its own."""

import io
import threading
import time

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem

PREFIX = "mem://"


class NotFoundError(Exception):
    """Like the errors of a cloud's library, no OSError."""

    __module__ = "google.api_core.exceptions"


class MemoryFileSystem(FileSystem):
    """mem://bucket/name -> bytes, for the threads of this process; an object appears when it is closed."""

    buckets: dict[str, dict[str, tuple[bytes, float]]] = {}  # noqa: RUF012 - shared on purpose
    lock = threading.Lock()

    @classmethod
    def reset(cls, *buckets):
        cls.buckets.clear()
        cls.buckets.update({bucket: {} for bucket in buckets})

    @classmethod
    def write(cls, path, data):
        cls._bucket(path)[path] = (data, time.time())

    @classmethod
    def read(cls, path):
        return cls._object(path)[0]

    @classmethod
    def names(cls, prefix):
        with cls.lock:
            return sorted(path for path in cls._bucket(prefix) if path.startswith(prefix))

    @classmethod
    def _bucket(cls, path):
        name = path.removeprefix(PREFIX).partition("/")[0]
        if name not in cls.buckets:
            raise NotFoundError(f"404 the bucket {name}\ndoes not exist")
        return cls.buckets[name]

    @classmethod
    def _object(cls, path):
        bucket = cls._bucket(path)
        if path not in bucket:
            raise NotFoundError(f"404 no such object: {path}")
        return bucket[path]

    @classmethod
    def scheme(cls):
        return "mem"

    def join(self, basepath, *paths):
        for path in paths:
            basepath = f"{basepath.rstrip('/')}/{path.lstrip('/')}"
        return basepath

    def split(self, path):
        head, _, tail = path.removeprefix(PREFIX).rpartition("/")
        return PREFIX + head, tail

    def mkdirs(self, path):
        pass

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        try:
            names = self.names(dir_or_prefix)
        except NotFoundError as error:
            raise BeamIOError("List operation failed", {dir_or_prefix: error}) from error
        for path in names:
            yield self.metadata(path)

    def create(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        return _Writer(path)

    def open(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        return io.BytesIO(self.read(path))

    def copy(self, source_file_names, destination_file_names):
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            self.write(destination, self.read(source))

    def rename(self, source_file_names, destination_file_names):
        self.copy(source_file_names, destination_file_names)
        with self.lock:
            for source in source_file_names:
                del self._bucket(source)[source]

    def exists(self, path):
        return path in self.buckets.get(path.removeprefix(PREFIX).partition("/")[0], {})

    def size(self, path):
        return len(self.read(path))

    def last_updated(self, path):
        return self._object(path)[1]

    def metadata(self, path):
        try:
            return FileMetadata(path, self.size(path), self.last_updated(path))
        except NotFoundError as error:
            raise BeamIOError("Metadata operation failed", {path: error}) from error

    def delete(self, paths):
        for path in paths:
            found = (
                self.names(path) if path.endswith("/") else [item.path for item in self.match([path])[0].metadata_list]
            )
            with self.lock:
                for name in found:
                    del self._bucket(name)[name]


class _Writer(io.BytesIO):
    def __init__(self, path):
        super().__init__()
        self._path = path

    def close(self):
        if not self.closed:
            data = self.getvalue()
            super().close()
            MemoryFileSystem.write(self._path, data)
