"""Ways to damage an audio file: bits, lengths, spans, and headers that lie."""

import random
import struct
from collections.abc import Callable

import numpy as np

from tools.ogg_pages import with_checksums

# Marker in the file, bytes from its start, struct format. The first such marker counts; of Ogg's pages the last one,
# which tells the length.
_Place = tuple[bytes, int, str]
# The numbers in a header, by the file's format.
_FIELDS: dict[str, dict[str, _Place]] = {
    "wav": {
        "length": (b"data", 4, "<I"),
        "riff length": (b"RIFF", 4, "<I"),
        "format length": (b"fmt ", 4, "<I"),
        "encoding": (b"fmt ", 8, "<H"),
        "channels": (b"fmt ", 10, "<H"),
        "rate": (b"fmt ", 12, "<I"),
        "block align": (b"fmt ", 20, "<H"),
        "bits": (b"fmt ", 22, "<H"),
    },
    "au": {
        "data offset": (b".snd", 4, ">I"),
        "length": (b".snd", 8, ">I"),
        "encoding": (b".snd", 12, ">I"),
        "rate": (b".snd", 16, ">I"),
        "channels": (b".snd", 20, ">I"),
    },
    "aiff": {
        "channels": (b"COMM", 8, ">H"),
        "length": (b"COMM", 10, ">I"),
        "bits": (b"COMM", 14, ">H"),
        "rate": (b"COMM", 16, ">H"),
        "data length": (b"SSND", 4, ">I"),
        "data offset": (b"SSND", 8, ">I"),
        "block align": (b"SSND", 12, ">I"),
    },
    "flac": {
        "block size": (b"fLaC", 8, ">I"),
        "rate": (b"fLaC", 18, ">H"),
        "channels and bits": (b"fLaC", 20, ">B"),
        "length": (b"fLaC", 22, ">I"),
    },
    "ogg": {
        "length": (b"OggS", 6, "<Q"),
        "channels": (b"\x01vorbis", 11, "<B"),
        "rate": (b"\x01vorbis", 12, "<I"),
        "block size": (b"\x01vorbis", 28, "<B"),
    },
    "mp3": {
        "frame header": (b"\xff", 1, ">H"),
        "length": (b"Xing", 8, ">I"),
        "data length": (b"Xing", 12, ">I"),
        "flags": (b"Xing", 4, ">I"),
    },
}
CONTAINERS = tuple(_FIELDS)
# As many chances as all other ways together have, nearly.
_LIE_WEIGHT = 10
_BAD_SAMPLES = (np.nan, np.inf, -np.inf, 3e38, -1e30)


def mutate(data: bytes, container: str, rng: random.Random) -> tuple[str, bytes]:
    """The name of a mutation, and the file's bytes after it.

    Args:
      data: a whole file.
      container: one of CONTAINERS.
      rng: decides what is done, and where.
    """
    name = rng.choice([*_GENERAL, *("lie",) * _LIE_WEIGHT])
    if name == "lie":
        return _lie(data, container, rng)
    return name, _GENERAL[name](data, rng)


def _lie(data: bytes, container: str, rng: random.Random) -> tuple[str, bytes]:
    """Another number in a field of the header; in Ogg with right checksums, or the page would not be looked at."""
    field = rng.choice(list(_FIELDS[container]))
    marker, offset, form = _FIELDS[container][field]
    start = data.rfind(marker) if marker == b"OggS" else data.find(marker)
    bits = 8 * struct.calcsize(form)
    extreme = (0, 1, 2, 3, 1 << (bits - 1), (1 << (bits - 1)) - 1, (1 << bits) - 1, (1 << bits) - 2)
    value = rng.choice((*extreme, rng.getrandbits(bits), rng.getrandbits(bits // 2)))
    if 0 <= start <= len(data) - offset - bits // 8:
        data = _replaced(data, start + offset, struct.pack(form, value))
    return f"lie: {field}", with_checksums(data) if container == "ogg" else data


def _replaced(data: bytes, start: int, piece: bytes) -> bytes:
    return data[:start] + piece + data[start + len(piece) :]


def _flip(data: bytes, rng: random.Random, end: int) -> bytes:
    flipped = bytearray(data)
    for _ in range(2 ** rng.randint(0, 7)):
        flipped[rng.randrange(min(end, len(data)))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _span(data: bytes, rng: random.Random) -> slice:
    start = rng.randrange(len(data))
    return slice(start, start + rng.randint(1, len(data) // 2))


def _without_span(data: bytes, rng: random.Random) -> bytes:
    span = _span(data, rng)
    return data[: span.start] + data[span.stop :]


def _span_twice(data: bytes, rng: random.Random) -> bytes:
    span = _span(data, rng)
    return data[: span.stop] + data[span.start :]


def _bad_samples(data: bytes, rng: random.Random) -> bytes:
    """32-bit floats that are no samples, in both byte orders: in a file of floats NaN, in another one noise."""
    for _ in range(rng.randint(1, 20)):
        start = rng.randrange(64, len(data) - 4) & ~3
        data = _replaced(data, start, struct.pack(rng.choice("<>") + "f", rng.choice(_BAD_SAMPLES)))
    return data


_GENERAL: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bits flipped": lambda data, rng: _flip(data, rng, len(data)),
    "header's bits flipped": lambda data, rng: _flip(data, rng, 96),
    "truncated": lambda data, rng: data[: rng.randrange(1, len(data))],
    "truncated in the header": lambda data, rng: data[: rng.randrange(1, 96)],
    "a span removed": _without_span,
    "a span twice": _span_twice,
    "samples not finite": _bad_samples,
    "zeros only": lambda data, rng: bytes(len(data)),
    "no bytes": lambda data, rng: b"",
    "text": lambda data, rng: b"This is no audio file.\n" * rng.randint(1, 500),
    "noise after the magic": lambda data, rng: data[:12] + rng.randbytes(len(data) - 12),
    "noise at the end": lambda data, rng: data + rng.randbytes(rng.randint(1, 5000)),
}
