"""The TFRecord container: one shard file, written and read without TensorFlow.

A record is: length (uint64, little-endian), masked CRC32C of the length (uint32), the data, masked CRC32C of the data
(TensorFlow, tensorflow/core/lib/io/record_writer.h).
"""

import dataclasses
import hashlib
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

from tfrecords import storage
from tfrecords.common.command_line import UserError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size
# A longer record is not read, even if its length's checksum matches: it might allocate all of the machine's memory.
_MAX_RECORD_BYTES = 1 << 31


class ShardError(UserError):
    """A shard that cannot be read or is damaged; the message names the file and the offset in bytes."""


def shard_file(name: str, part: str, index: int, count: int) -> str:
    """Return the file name of a shard.

    Example:
      >>> shard_file("gtzan", "fold_0", 0, 4)
      'gtzan-fold_0.tfrecord-00000-of-00004'
    """
    return f"{name}-{part}.tfrecord-{index:05d}-of-{count:05d}"


def masked_crc32c(data: bytes) -> int:
    """Return the CRC32C rotated right by 15 bits plus a constant, as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@dataclasses.dataclass
class RecordWriter:
    """Writes records to a binary file and counts them.

    Attributes:
      file: open for writing; the caller closes it.
      records: records written so far.
      size: bytes written so far.
    """

    file: BinaryIO
    records: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append one record."""
        length = _LENGTH.pack(len(data))
        header = length + _CRC.pack(masked_crc32c(length))
        for piece in (header, data, _CRC.pack(masked_crc32c(data))):
            self.file.write(piece)
            self._sha256.update(piece)
            self.size += len(piece)
        self.records += 1

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the bytes written so far."""
        return self._sha256.hexdigest()


def open_shard(path: storage.Location) -> BinaryIO:
    """Open a shard's file for reading.

    Raises:
      ShardError: it cannot be opened.
    """
    try:
        return storage.open_file(path)
    except OSError as error:
        raise ShardError(f"{path} cannot be read: {error.strerror}") from None


def read_records(file: BinaryIO, name: str, *, skip: int = 0) -> Iterator[bytes]:
    """Yield the records of a shard.

    Args:
      file: open for reading, at the start of a shard.
      name: the file's name in errors.
      skip: number of records to skip at the start; only their lengths are read.

    Raises:
      ShardError: the file cannot be read, ends inside a record, or a checksum does not match.
    """
    offset = 0
    try:
        while header := file.read(_HEADER_BYTES):
            if len(header) < _HEADER_BYTES:
                raise ShardError(f"{name}: torn at byte {offset}: the file ends inside a record's header")
            (length,) = _LENGTH.unpack_from(header)
            (crc,) = _CRC.unpack_from(header, _LENGTH.size)
            if crc != masked_crc32c(header[: _LENGTH.size]) or length > _MAX_RECORD_BYTES:
                raise ShardError(f"{name}: corrupt at byte {offset}: the checksum of a record's length does not match")
            if skip:
                skip -= 1
                offset += _HEADER_BYTES + length + _CRC.size
                file.seek(offset)
                continue
            data = file.read(length)
            footer = file.read(_CRC.size)
            if len(data) < length or len(footer) < _CRC.size:
                raise ShardError(f"{name}: torn at byte {offset}: the file ends inside a record of {length} bytes")
            if _CRC.unpack(footer)[0] != masked_crc32c(data):
                raise ShardError(f"{name}: corrupt at byte {offset}: the checksum of a record's data does not match")
            yield data
            offset += _HEADER_BYTES + length + _CRC.size
    except OSError as error:
        raise ShardError(f"{name} cannot be read: {error.strerror}") from None
