"""An audio file as the decoders need it: read at any offset, or through a file descriptor of this machine."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from beam_preprocess.audio.rejects import no_room, unreadable

_BLOCK_BYTES = 1 << 20


class Source:
    """A file that is open for reading, on this machine or in a store.

    Every method that reads raises `Reject` ("unreadable") where the disk or the store fails.

    Attributes:
      file: seekable.
      descriptor: of a file of this machine, for decoders written in C, which read by themselves; else None.
      size: in bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        try:
            self.descriptor: int | None = file.fileno()
        except (AttributeError, OSError):
            self.descriptor = None
        try:
            self.size = file.seek(0, io.SEEK_END)
        except OSError as error:
            raise unreadable(error) from error

    def read_at(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; fewer at the end of the file."""
        try:
            if self.descriptor is not None:
                return os.pread(self.descriptor, size, offset)
            self.file.seek(offset)
            return self.file.read(size)
        except OSError as error:
            raise unreadable(error) from error

    def rewind(self) -> int:
        """Return the descriptor, positioned at the start of the file.

        Raises:
          ValueError: the file is not on this machine.
        """
        if self.descriptor is None:
            raise ValueError("no descriptor: the file is not on this machine")
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return self.descriptor

    @contextlib.contextmanager
    def part(self, start: int = 0, end: int | None = None) -> Iterator["Source"]:
        """Yield the bytes from `start` to `end` as a file with a descriptor.

        It is a copy without a name in the temporary directory, unless it is a whole file of this machine.

        Raises:
          NoRoom: the temporary directory cannot hold it.
        """
        end = self.size if end is None else end
        if self.descriptor is not None and (start, end) == (0, self.size):
            yield self
        else:
            with self._copy(start, end) as copy:
                yield copy

    @contextlib.contextmanager
    def patched(self, offset: int, data: bytes) -> Iterator["Source"]:
        """Yield a copy, as `part` does, with other bytes at an offset."""
        with self._copy(0, self.size) as copy:
            os.pwrite(copy.rewind(), data, offset)
            yield copy

    @contextlib.contextmanager
    def _copy(self, start: int, end: int) -> Iterator["Source"]:
        try:
            # Unbuffered: what the disk refuses would stay in the buffer and fail once more on closing.
            copy = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed below; only its creation is caught here
        except OSError as error:
            raise no_room(error) from error
        with copy:
            for offset in range(start, end, _BLOCK_BYTES):
                data = memoryview(self.read_at(offset, min(_BLOCK_BYTES, end - offset)))
                try:
                    while data:
                        data = data[copy.write(data) :]
                except OSError as error:
                    raise no_room(error) from error
            yield Source(copy)

    def find_all(self, *words: bytes) -> Iterator[int]:
        """Yield the offsets at which any of the words begins, in ascending order."""
        overlap = max(map(len, words)) - 1
        for offset in range(0, self.size, _BLOCK_BYTES):
            data = self.read_at(offset, _BLOCK_BYTES + overlap)
            # Word by word: a regular expression of several words takes seven times as long.
            places = {place for word in words for place in _find(data, word) if place < _BLOCK_BYTES}
            yield from (offset + place for place in sorted(places))

    def check_readable(self) -> None:
        """Read the whole file: a decoder in C may take a read error for the end of the file."""
        offset = 0
        while data := self.read_at(offset, _BLOCK_BYTES):
            offset += len(data)


def _find(data: bytes, word: bytes) -> Iterator[int]:
    place = data.find(word)
    while place >= 0:
        yield place
        place = data.find(word, place + 1)
