"""The checksums of Ogg pages (RFC 3533): without them a decoder would drop each page that was tampered with."""

import struct

_CAPTURE = b"OggS"
_SERIAL_AT, _CHECKSUM_AT, _SEGMENTS_AT, _HEADER_BYTES = 14, 22, 26, 27
_POLYNOMIAL = 0x04C11DB7


def _remainder(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = (value << 1) ^ (_POLYNOMIAL if value & 0x80000000 else 0)
    return value & 0xFFFFFFFF


_TABLE = [_remainder(byte) for byte in range(256)]


def checksum(page: bytes) -> int:
    """CRC-32 of a page, most significant bit first, no inversion, of a page whose own checksum is 0."""
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ _TABLE[(value >> 24) ^ byte]
    return value


def with_checksums(data: bytes, serial: int | None = None) -> bytes:
    """The stream with the right checksum, and if wanted another serial number, in every page that is whole."""
    fixed = bytearray(data)
    start = data.find(_CAPTURE)
    while 0 <= start < len(data) - _HEADER_BYTES:
        segments = data[start + _HEADER_BYTES :][: data[start + _SEGMENTS_AT]]
        end = start + _HEADER_BYTES + len(segments) + sum(segments)
        if end > len(data):
            break
        if serial is not None:
            fixed[start + _SERIAL_AT : start + _SERIAL_AT + 4] = struct.pack("<I", serial)
        at = start + _CHECKSUM_AT
        fixed[at : at + 4] = bytes(4)
        fixed[at : at + 4] = struct.pack("<I", checksum(bytes(fixed[start:end])))
        start = data.find(_CAPTURE, end)
    return bytes(fixed)
