"""An audio file as the decoders need it: with a descriptor, by which they read it themselves."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from beam_preprocess.audio.block import no_room, unreadable

_BLOCK_BYTES = 1 << 20


class Source:
    """A file that is open for reading, on this machine or elsewhere.

    Attributes:
      file: seekable.
      descriptor: of a file of this machine, which decoders written in C read by themselves; else None.
      size: bytes.

    Raises:
      Reject: "unreadable".
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.descriptor = _descriptor(file)
        try:
            self.size = file.seek(0, io.SEEK_END)
        except OSError as error:
            raise unreadable(error) from error

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes from an offset on; fewer at the end of the file.

        Raises:
          Reject: "unreadable".
        """
        try:
            if self.descriptor is not None:
                return os.pread(self.descriptor, size, offset)
            self.file.seek(offset)
            return self.file.read(size)
        except OSError as error:
            raise unreadable(error) from error

    def rewind(self) -> int:
        """Puts the descriptor at the file's start, and gives it.

        Raises:
          ValueError: a file elsewhere has none.
        """
        if self.descriptor is None:
            raise ValueError("no descriptor: the file is not on this machine")
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return self.descriptor

    @contextlib.contextmanager
    def local(self) -> Iterator["Source"]:
        """The file with a descriptor: itself, or a copy in the temporary directory, which lasts as long as the block.

        Raises:
          Reject: "unreadable".
        """
        with self.part(0, self.size) as whole:
            yield whole

    @contextlib.contextmanager
    def part(self, start: int, end: int) -> Iterator["Source"]:
        """The bytes from start to end as a file with a descriptor: a copy in the temporary directory, without a name.

        A whole file of this machine is not copied.

        Raises:
          Reject: "unreadable".
        """
        if self.descriptor is not None and (start, end) == (0, self.size):
            yield self
        else:
            with self._copied(start, end) as copy:
                yield copy

    @contextlib.contextmanager
    def _copied(self, start: int, end: int) -> Iterator["Source"]:
        try:
            # Without a buffer: what does not fit would be in it, and closing would fail once more.
            copy = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - only its making is looked at here
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

    @contextlib.contextmanager
    def patched(self, offset: int, data: bytes) -> Iterator["Source"]:
        """A copy with other bytes at an offset.

        Raises:
          Reject: "unreadable".
        """
        with self._copied(0, self.size) as copy:
            os.pwrite(copy.rewind(), data, offset)
            yield copy

    def find_all(self, *words: bytes) -> Iterator[int]:
        """Where any of some words stands in the file, in order.

        Raises:
          Reject: "unreadable".
        """
        overlap = max(map(len, words)) - 1
        for offset in range(0, self.size, _BLOCK_BYTES):
            data = self.read_at(offset, _BLOCK_BYTES + overlap)
            # One by one: a pattern of several words takes seven times as long.
            places = {place for word in words for place in _find(data, word) if place < _BLOCK_BYTES}
            yield from (offset + place for place in sorted(places))

    def check_readable(self) -> None:
        """Reads all: to a decoder that reads by itself, what a disk cannot give may look like the file's end.

        Raises:
          Reject: "unreadable".
        """
        offset = 0
        while data := self.read_at(offset, _BLOCK_BYTES):
            offset += len(data)


def _find(data: bytes, word: bytes) -> Iterator[int]:
    place = data.find(word)
    while place >= 0:
        yield place
        place = data.find(word, place + 1)


def _descriptor(file: BinaryIO) -> int | None:
    try:
        return file.fileno()
    except (AttributeError, OSError):
        return None
