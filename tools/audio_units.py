"""The parts that an audio file consists of: pages of Ogg, boxes of MP4, packets of all others."""

import io
from collections.abc import Iterator

import av

# Boxes that hold boxes, and what stands before those.
_NESTED = {**dict.fromkeys((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex"), 0), b"stsd": 8}
_BOX_HEADER_BYTES = 8


def unit_name(family: str) -> str:
    """What a part of such a file is called."""
    return {"ogg": "page", "mp4": "box"}.get(family, "packet")


def units(data: bytes, family: str) -> list[slice]:
    """Where the parts of a whole file are, in order; boxes that hold others too.

    Args:
      data: a whole file.
      family: "ogg", "mp4" or any other name.
    """
    if family == "mp4":
        return list(_boxes(data, 0, len(data)))
    starts = _pages(data) if family == "ogg" else _packets(data)
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def _boxes(data: bytes, start: int, end: int) -> Iterator[slice]:
    while start + _BOX_HEADER_BYTES <= end:
        box_end = start + max(_BOX_HEADER_BYTES, int.from_bytes(data[start : start + 4], "big"))
        yield slice(start, box_end)
        before = _NESTED.get(data[start + 4 : start + 8])
        if before is not None:
            yield from _boxes(data, start + _BOX_HEADER_BYTES + before, box_end)
        start = box_end


def _pages(data: bytes) -> list[int]:
    starts = []
    start = data.find(b"OggS")
    while start >= 0:
        starts.append(start)
        start = data.find(b"OggS", start + 1)
    return starts


def _packets(data: bytes) -> list[int]:
    with av.open(io.BytesIO(data), "r") as file:
        return sorted({packet.pos for packet in file.demux() if packet.size and packet.pos is not None})
