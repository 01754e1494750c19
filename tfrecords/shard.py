"""The TFRecord container: one shard file, written and read without TensorFlow.

A record is: length (uint64, little-endian), masked CRC32C of the length (uint32), the data, masked CRC32C of the data
(TensorFlow, tensorflow/core/lib/io/record_writer.h).
"""

import dataclasses
import hashlib
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c
import numpy as np

from tfrecords import storage
from tfrecords.common.command_line import UserError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
HEADER_BYTES = _LENGTH.size + _CRC.size
CRC_BYTES = _CRC.size
# A longer record is not read, even if its length's checksum matches: it might allocate all of the machine's memory.
_MAX_RECORD_BYTES = 1 << 31


class ShardError(UserError):
    """A shard that cannot be read or is damaged; the message names the file and the offset in bytes.

    Attributes:
      advice: what to do.
    """

    advice = "write the dataset again"


def shard_file(name: str, part: str, index: int, count: int) -> str:
    """Return the file name of a shard.

    Example:
      >>> shard_file("gtzan", "fold_0", 0, 4)
      'gtzan-fold_0.tfrecord-00000-of-00004'
    """
    return f"{name}-{part}.tfrecord-{index:05d}-of-{count:05d}"


def masked_crc32c(data: bytes | np.ndarray) -> int:
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


def read_records(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the records of a shard.

    Args:
      file: open for reading, at the start of a shard.
      name: the file's name in errors.

    Raises:
      ShardError: the file cannot be read, ends inside a record, or a checksum does not match.
    """
    offset = 0
    try:
        while header := file.read(HEADER_BYTES):
            length = _read_length(header, name, offset)
            data = file.read(length)
            footer = file.read(CRC_BYTES)
            if len(data) < length or len(footer) < CRC_BYTES:
                raise _torn(name, offset, length)
            if _CRC.unpack(footer)[0] != masked_crc32c(data):
                raise _corrupt_data(name, offset)
            yield data
            offset += HEADER_BYTES + length + CRC_BYTES
    except OSError as error:
        raise ShardError(f"{name} cannot be read: {error.strerror}") from None


def record_bounds(file: BinaryIO, name: str) -> Iterator[int]:
    """Yield the offset in bytes at which each record of a shard begins, and at which the last one ends.

    Only the records' lengths are read.

    Args:
      file: open for reading, at any offset.
      name: the file's name in errors.

    Raises:
      ShardError: the file cannot be read, ends inside a record, or the checksum of a length does not match.
    """
    offset = 0
    try:
        size = file.seek(0, os.SEEK_END)
        yield offset
        while offset < size:
            file.seek(offset)
            length = _read_length(file.read(HEADER_BYTES), name, offset)
            end = offset + HEADER_BYTES + length + CRC_BYTES
            if end > size:
                raise _torn(name, offset, length)
            offset = end
            yield offset
    except OSError as error:
        raise ShardError(f"{name} cannot be read: {error.strerror}") from None


def check_record(framed: np.ndarray, name: str, offset: int) -> None:
    """Compare the checksums of one record.

    Args:
      framed: [bytes] uint8, the record with its length and checksums.
      name: the file's name in errors.
      offset: where in the file the record begins, in bytes.

    Raises:
      ShardError: a checksum does not match, or the record has another length.
    """
    length = _read_length(framed[:HEADER_BYTES].tobytes(), name, offset)
    if length != len(framed) - HEADER_BYTES - CRC_BYTES:
        raise ShardError(f"{name}: has changed at byte {offset}: a record of {length} bytes begins there")
    if _CRC.unpack(framed[-CRC_BYTES:].tobytes())[0] != masked_crc32c(framed[HEADER_BYTES:-CRC_BYTES]):
        raise _corrupt_data(name, offset)


def _read_length(header: bytes, name: str, offset: int) -> int:
    """Return the length of a record's data in bytes, after comparing its checksum."""
    if len(header) < HEADER_BYTES:
        raise ShardError(f"{name}: torn at byte {offset}: the file ends inside a record's header")
    (length,) = _LENGTH.unpack_from(header)
    (crc,) = _CRC.unpack_from(header, _LENGTH.size)
    if crc != masked_crc32c(header[: _LENGTH.size]) or length > _MAX_RECORD_BYTES:
        raise ShardError(f"{name}: corrupt at byte {offset}: the checksum of a record's length does not match")
    return length


def _torn(name: str, offset: int, length: int) -> ShardError:
    return ShardError(f"{name}: torn at byte {offset}: the file ends inside a record of {length} bytes")


def _corrupt_data(name: str, offset: int) -> ShardError:
    return ShardError(f"{name}: corrupt at byte {offset}: the checksum of a record's data does not match")
