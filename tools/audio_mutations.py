"""Ways to damage an audio file: bits, lengths, spans, parts, joints, and headers that lie."""

import random
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tools.audio_units import unit_name
from tools.ogg_pages import with_checksums

A_FEW_BITS, END_CUT_OFF = "a few bits flipped in the middle", "the last quarter cut off"


class Whole(NamedTuple):
    """A file as it should be.

    Attributes:
      name: of its format.
      extension: of its name.
      family: of formats with the same header, one of FAMILIES.
      data: its bytes.
      units: where its parts are, see `audio_units`.
    """

    name: str
    extension: str
    family: str
    data: bytes
    units: tuple[slice, ...]


# Marker in the file, bytes from its start, struct format. The first such marker counts; of Ogg's pages the last one,
# which tells the length.
_Place = tuple[bytes, int, str]
# The numbers in a header, by the file's family.
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
        "Opus channels": (b"OpusHead", 9, "<B"),
        "Opus delay": (b"OpusHead", 10, "<H"),
        "Opus gain": (b"OpusHead", 16, "<H"),
        "Opus mapping": (b"OpusHead", 18, "<B"),
        "FLAC rate": (b"fLaC", 18, ">H"),
        "FLAC channels and bits": (b"fLaC", 20, ">B"),
        "FLAC length": (b"fLaC", 22, ">I"),
    },
    "mp3": {
        "frame header": (b"\xff", 1, ">H"),
        "length": (b"Xing", 8, ">I"),
        "data length": (b"Xing", 12, ">I"),
        "flags": (b"Xing", 4, ">I"),
        "length of CBR": (b"Info", 8, ">I"),
        "delay and padding": (b"Info", 141, ">I"),
        "tag length": (b"ID3", 6, ">I"),
    },
    "aac": {
        "frame header": (b"\xff\xf1", 2, ">H"),
        "frame length": (b"\xff\xf1", 3, ">I"),
    },
    "mp4": {
        "unit of time": (b"mdhd", 16, ">I"),
        "length": (b"mdhd", 20, ">I"),
        "length of the whole": (b"mvhd", 20, ">I"),
        "descriptions": (b"stsd", 8, ">I"),
        "channels": (b"stsd", 36, ">H"),
        "bits": (b"stsd", 38, ">H"),
        "rate": (b"stsd", 44, ">H"),
        "decoder configuration": (b"\x05\x80\x80\x80", 5, ">H"),
        "times": (b"stts", 8, ">I"),
        "packets of a time": (b"stts", 12, ">I"),
        "packet duration": (b"stts", 16, ">I"),
        "packet size": (b"stsz", 8, ">I"),
        "packets": (b"stsz", 12, ">I"),
        "first packet's size": (b"stsz", 16, ">I"),
        "chunks": (b"stco", 8, ">I"),
        "chunk offset": (b"stco", 12, ">I"),
        "packets of a chunk": (b"stsc", 16, ">I"),
        "fragment's packets": (b"trun", 8, ">I"),
        "fragment's offset": (b"trun", 12, ">I"),
        "edit length": (b"elst", 12, ">I"),
        "edit start": (b"elst", 16, ">I"),
    },
    "matroska": {
        "segment length": (b"\x18\x53\x80\x67", 5, ">I"),
        "cluster length": (b"\x1f\x43\xb6\x75", 4, ">H"),
        "unit of time": (b"\x2a\xd7\xb1", 4, ">H"),
        "length": (b"\x44\x89\x88", 3, ">Q"),
        "rate": (b"\xb5\x88", 2, ">Q"),
        "channels": (b"\x9f\x81", 2, ">B"),
        "codec": (b"A_", 2, ">I"),
        "decoder configuration": (b"\x63\xa2", 2, ">H"),
    },
    "asf": {
        "header length": (b"\x30\x26\xb2\x75", 16, "<Q"),
        "objects": (b"\x30\x26\xb2\x75", 24, "<I"),
        "packets": (b"\xa1\xdc\xab\x8c", 56, "<Q"),
        "length": (b"\xa1\xdc\xab\x8c", 64, "<Q"),
        "packet size": (b"\xa1\xdc\xab\x8c", 92, "<I"),
        "codec": (b"\x40\x9e\x69\xf8", 54, "<H"),
        "channels": (b"\x40\x9e\x69\xf8", 56, "<H"),
        "rate": (b"\x40\x9e\x69\xf8", 58, "<I"),
        "block align": (b"\x40\x9e\x69\xf8", 66, "<H"),
        "data length": (b"\x36\x26\xb2\x75", 16, "<Q"),
    },
}
FAMILIES = tuple(_FIELDS)
# Of a page's header, bytes from its start and struct format.
_PAGE_FIELDS = ((5, "<B"), (6, "<Q"), (14, "<I"), (18, "<I"), (26, "<B"), (27, "<B"))
# As many chances as all other ways together have, nearly.
_LIE_WEIGHT = 20
# How well these are told apart is what says most about a decoder.
_GENTLE_WEIGHT = 2
_BAD_SAMPLES = (np.nan, np.inf, -np.inf, 3e38, -1e30)


def mutate(whole: Whole, others: Sequence[Whole], rng: random.Random) -> tuple[str, bytes]:
    """The name of a mutation, and the file's bytes after it.

    Args:
      whole: the file.
      others: that it may be joined with.
      rng: decides what is done, and where.
    """
    in_units = _IN_BOXES if whole.family == "mp4" else _IN_UNITS
    ways = [*_GENERAL, *in_units, *_JOINTS, *("lie",) * _LIE_WEIGHT, *(A_FEW_BITS, END_CUT_OFF) * _GENTLE_WEIGHT]
    name = rng.choice(ways)
    if name == "lie":
        return _lie(whole, rng)
    if name in in_units:
        return name.replace("part", unit_name(whole.family)), in_units[name](whole, rng)
    if name in _JOINTS:
        return _JOINTS[name](whole, others, rng)
    return name, _GENERAL[name](whole.data, rng)


def _lie(whole: Whole, rng: random.Random) -> tuple[str, bytes]:
    """Another number in a field of the header; in Ogg with right checksums, or the page would not be looked at."""
    data = whole.data
    fields = {name: place for name, place in _FIELDS[whole.family].items() if place[0] in data}
    field = rng.choice(list(fields))
    marker, offset, form = fields[field]
    start = data.rfind(marker) if marker == b"OggS" else data.find(marker)
    return f"lie: {field}", _with_lie(whole, start + offset, form, rng)


def _with_lie(whole: Whole, start: int, form: str, rng: random.Random) -> bytes:
    """The file with another number at a place."""
    data, bits = whole.data, 8 * struct.calcsize(form)
    extreme = (0, 1, 2, 3, 1 << (bits - 1), (1 << (bits - 1)) - 1, (1 << bits) - 1, (1 << bits) - 2)
    value = rng.choice((*extreme, rng.getrandbits(bits), rng.getrandbits(bits // 2)))
    if start + bits // 8 <= len(data):
        data = _replaced(data, start, struct.pack(form, value))
    return with_checksums(data) if whole.family == "ogg" else data


def _replaced(data: bytes, start: int, piece: bytes) -> bytes:
    return data[:start] + piece + data[start + len(piece) :]


def _flip(data: bytes, rng: random.Random, span: slice, count: int) -> bytes:
    flipped = bytearray(data)
    for _ in range(count):
        flipped[rng.randrange(*span.indices(len(data)))] ^= 1 << rng.randrange(8)
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


def _without_units(whole: Whole, rng: random.Random) -> bytes:
    """One to three parts in a row are gone."""
    index = rng.randrange(len(whole.units))
    last = whole.units[min(len(whole.units) - 1, index + rng.randrange(3))]
    return whole.data[: whole.units[index].start] + whole.data[max(whole.units[index].stop, last.stop) :]


def _units_swapped(whole: Whole, rng: random.Random) -> bytes:
    first, second = sorted(rng.choices(whole.units, k=2), key=lambda unit: unit.start)
    if second.start < first.stop:
        # The same, or one inside the other.
        return _without_units(whole, rng)
    data = whole.data
    return data[: first.start] + data[second] + data[first.stop : second.start] + data[first] + data[second.stop :]


def _unit_twice(whole: Whole, rng: random.Random) -> bytes:
    unit = rng.choice(whole.units)
    return whole.data[: unit.stop] + whole.data[unit.start :]


def _unit_of_zeros(whole: Whole, rng: random.Random) -> bytes:
    unit = rng.choice(whole.units)
    return _replaced(whole.data, unit.start, bytes(unit.stop - unit.start))


def _units_header_lies(whole: Whole, rng: random.Random) -> bytes:
    """A size that lies in a box, any field in the header of an Ogg page, and the first bytes of a packet."""
    start = rng.choice(whole.units).start
    offset, form = rng.choice(_PAGE_FIELDS) if whole.family == "ogg" else (0, ">I")
    return _with_lie(whole, start + offset, form, rng)


def _unit_renamed(whole: Whole, rng: random.Random) -> bytes:
    """A box that readers pass over, with all sizes right."""
    return _replaced(whole.data, rng.choice(whole.units).start + 4, b"free")


def _joined(whole: Whole, others: Sequence[Whole], rng: random.Random) -> tuple[str, bytes]:
    other = rng.choice(others)
    return f"joined with {_kind_of(whole, other)}", whole.data + other.data


def _spliced(whole: Whole, others: Sequence[Whole], rng: random.Random) -> tuple[str, bytes]:
    other = rng.choice(others)
    data = whole.data[: rng.randrange(len(whole.data))] + other.data[rng.randrange(len(other.data)) :]
    return f"goes on as {_kind_of(whole, other)}", data


def _kind_of(whole: Whole, other: Whole) -> str:
    same = other.name == whole.name
    return "itself" if same else "its like" if other.family == whole.family else "another format"


_GENERAL: dict[str, Callable[[bytes, random.Random], bytes]] = {
    A_FEW_BITS: lambda data, rng: _flip(data, rng, slice(len(data) * 2 // 5, len(data) * 3 // 5), rng.randint(1, 4)),
    "bits flipped": lambda data, rng: _flip(data, rng, slice(None), 2 ** rng.randint(0, 7)),
    "header's bits flipped": lambda data, rng: _flip(data, rng, slice(96), 2 ** rng.randint(0, 7)),
    END_CUT_OFF: lambda data, rng: data[: round(len(data) * rng.uniform(0.7, 0.8))],
    "truncated": lambda data, rng: data[: rng.randrange(1, len(data))],
    "truncated in the header": lambda data, rng: data[: rng.randrange(1, 96)],
    "a span removed": _without_span,
    "a span twice": _span_twice,
    "samples not finite": _bad_samples,
    "zeros only": lambda data, rng: bytes(len(data)),
    "no bytes": lambda data, rng: b"",
    "text": lambda data, rng: b"This is no audio file.\n" * rng.randint(1, 500),
    "noise after the magic": lambda data, rng: data[:12] + rng.randbytes(len(data) - 12),
    "zeros in front": lambda data, rng: bytes(rng.randint(1, 5000)) + data,
    "zeros at the end": lambda data, rng: data + bytes(rng.randint(1, 5000)),
    "noise at the end": lambda data, rng: data + rng.randbytes(rng.randint(1, 5000)),
}
_IN_UNITS: dict[str, Callable[[Whole, random.Random], bytes]] = {
    "a part lost": _without_units,
    "a part swapped with another": _units_swapped,
    "a part twice": _unit_twice,
    "a part of zeros": _unit_of_zeros,
    "a part's header lies": _units_header_lies,
}
_IN_BOXES = _IN_UNITS | {"a part renamed": _unit_renamed}
_JOINTS: dict[str, Callable[[Whole, Sequence[Whole], random.Random], tuple[str, bytes]]] = {
    "joined": _joined,
    "spliced": _spliced,
}
