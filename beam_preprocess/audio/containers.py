"""What a file is by its first bytes, and what its container says of its length and its parts.

Decoders are lenient where files are not as they should be, each in its own way; these are the facts that decide whether
what they made of a file is all of it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from beam_preprocess.audio.block import Reject
from beam_preprocess.audio.formats import Container
from beam_preprocess.audio.source import Source


def is_unknown_length(size: int) -> bool:
    """Whether a size of 32 bits is what programs write that stream into a pipe, for "length not known".

    0, SoX's number for AIFF, and values close to the largest that fits, with and without a sign, less some header.
    """
    near = 1 << 16
    return size == 0 or abs(size - 0x7F000000) <= near or abs(size - (1 << 31)) <= near or size >= (1 << 32) - near


def missing_wav_length(source: Source) -> tuple[int, bytes] | None:
    """Where the size 0 stands of a WAV's data chunk that does hold audio, and what should stand there.

    None where the chunk is empty: the file ends there, or another chunk follows.

    Raises:
      Reject: "unreadable".
    """
    for offset, kind, size in _wav_chunks(source):
        if kind == b"ds64" and not any(source.read_at(offset + 16, 8)):
            # RF64 has its sizes, of 64 bits, in a chunk of their own.
            begins = next((at + 8 for at, other, _ in _wav_chunks(source) if other == b"data"), source.size)
            missing = source.size - begins
            return (offset + 16, missing.to_bytes(8, "little")) if missing > 0 else None
        if kind == b"data" and size == 0:
            following = source.read_at(offset + 8, 8)
            ends = offset + 16 + int.from_bytes(following[4:], "little")
            empty = len(following) < 8 or (following[:4].isalnum() and ends <= source.size)
            return None if empty else (offset + 4, min(source.size - offset - 8, 0xFFFFFFFF).to_bytes(4, "little"))
    return None


def _wav_chunks(source: Source) -> Iterator[tuple[int, bytes, int]]:
    """Where each chunk of a WAV begins, its kind, and its size as it says."""
    offset = 12
    while len(header := source.read_at(offset, 8)) == 8:
        size = int.from_bytes(header[4:], "little")
        yield offset, header[:4], size
        offset += 8 + size + size % 2


_BOX_BYTES, _LONG_BOX_BYTES = 8, 16


def check_mp4_boxes(source: Source) -> None:
    """Raises Reject when the last box of an MP4 should go on past the file's end: its index may have come after it."""
    end = max((end for _, _, end in _mp4_boxes(source)), default=0)
    if end > source.size:
        raise Reject("truncated", f"{source.size} of at least {end} bytes")


def _mp4_boxes(source: Source) -> Iterator[tuple[int, bytes, int]]:
    """Where each of the outermost boxes begins, its kind, and where it ends; the last one may state no end."""
    offset = 0
    while len(header := source.read_at(offset, _LONG_BOX_BYTES)) >= _BOX_BYTES and header[4:8].isalnum():
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:], "big")
        if size < _BOX_BYTES:
            return
        yield offset, header[4:8], offset + size
        offset += size


# An Ogg page (RFC 3533) is at most this long. Its sixth byte says whether it begins a stream, and whether it
# ends it too.
_MAX_OGG_PAGE_BYTES = 65_307
_OGG_HEADER_BYTES = 27
_OGG_BEGINS = (2, 6)


def check_last_ogg_page(source: Source) -> None:
    """Raises Reject when an Ogg stream stops inside a page: its header states no length.

    A last page without the flag that ends a stream is what a recorder leaves that was stopped: all is there.
    """
    start = max(0, source.size - _MAX_OGG_PAGE_BYTES)
    tail = source.read_at(start, _MAX_OGG_PAGE_BYTES)
    page = tail.rfind(b"OggS")
    if page < 0 and source.size > _MAX_OGG_PAGE_BYTES:
        # Something long behind the stream: not its own end.
        return
    length = _ogg_page_bytes(tail[page:])
    if length is None or len(tail) < page + length:
        found = len(tail) - page
        raise Reject("truncated", f"{found} of {length or 'at least 28'} bytes of the Ogg stream's last page")


def _ogg_page_bytes(page: bytes) -> int | None:
    """The length of a page, or None when there is not even its whole header."""
    # The header's last byte counts the segments, whose sizes follow, one byte each.
    if len(page) < _OGG_HEADER_BYTES or len(page) < _OGG_HEADER_BYTES + page[_OGG_HEADER_BYTES - 1]:
        return None
    segments = page[_OGG_HEADER_BYTES - 1]
    return _OGG_HEADER_BYTES + segments + sum(page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + segments])


def parts(source: Source, container: Container) -> list[tuple[int, int]]:
    """Where the files begin and end that were joined into one, as of chained Ogg streams and MP3s; mostly just one.

    Decoded one by one, each gets rid of its own encoder's delay, and may have a rate of its own.

    Raises:
      Reject: "unreadable".
    """
    find = _STARTS.get(container.name)
    starts = (find(source) if find else []) or [0]
    return list(zip(starts, [*starts[1:], source.size], strict=True))


def _wav_starts(source: Source) -> list[int]:
    starts, offset = [], 0
    while (header := source.read_at(offset, 12))[:4] == b"RIFF" and header[8:] == b"WAVE":
        starts.append(offset)
        size = int.from_bytes(header[4:8], "little")
        offset += 8 + size + size % 2
    return starts


def _flac_starts(source: Source) -> list[int]:
    # The mark, and the header of the block that always comes first, of 34 bytes.
    return list(source.find_all(b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22"))


def _mp4_starts(source: Source) -> list[int]:
    starts = [offset for offset, kind, _ in _mp4_boxes(source) if kind == b"ftyp"]
    # What stands before the first one may be the audio itself.
    return [0, *starts[1:]]


def _matroska_starts(source: Source) -> list[int]:
    # The header's own mark, and that of the type of document, which is in every header.
    return [begin for begin in source.find_all(b"\x1a\x45\xdf\xa3") if b"\x42\x82" in source.read_at(begin, 64)]


def _ogg_starts(source: Source) -> list[int]:
    """Where streams begin; those that begin together, such as pictures and sound, count once."""
    starts, previous_end = [], -1
    for begin in source.find_all(*(b"OggS\0" + bytes([kind]) for kind in _OGG_BEGINS)):
        if begin != previous_end:
            starts.append(begin)
        length = _ogg_page_bytes(source.read_at(begin, _OGG_HEADER_BYTES + 255))
        previous_end = begin + (length or 0)
    return starts


# Of MPEG audio (ISO 11172-3, 13818-3), by the bits of a frame's header.
_MPEG_RATES_HZ = (44_100, 48_000, 32_000)
_LAYER_3_KBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
# The first frame of a file may say how long it is, after its side information.
_SIDE_BYTES = (32, 17, 9)
_ID3 = re.compile(rb"ID3[\x02-\x04]\x00[\x00-\xff]([\x00-\x7f]{4})", re.DOTALL)
_ID3_HEADER_BYTES = 10
_MPEG_SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
# The frame that says a length is at most this long, and some frames of the largest kind.
_FIRST_FRAME_BYTES, _TAIL_BYTES = 4096, 1 << 15


class _MpegFrame(NamedTuple):
    """The header of a frame of MPEG audio, layer III."""

    bytes: int
    samples: int
    rate: int
    side_bytes: int


def _mpeg_frame(header: bytes) -> _MpegFrame | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0 or (header[1] >> 1) & 3 != 1:
        return None
    version, bitrate, rate = (header[1] >> 3) & 3, header[2] >> 4, (header[2] >> 2) & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    low = version != 3
    mono = header[3] >> 6 == 3
    rate_hz = _MPEG_RATES_HZ[rate] >> (0 if version == 3 else 1 if version == 2 else 2)
    samples = 576 if low else 1152
    length = samples // 8 * _LAYER_3_KBITS[low][bitrate] * 1000 // rate_hz + ((header[2] >> 1) & 1)
    return _MpegFrame(length, samples, rate_hz, (9 if mono else 17) if low else (17 if mono else 32))


def _mp3_starts(source: Source) -> list[int]:
    """Where MP3s begin: at a tag that a frame follows, or at a frame that says a length; and at 0, if that is audio."""
    # Tag or frame -> the first frame after it.
    starts = {}
    for begin in source.find_all(b"ID3"):
        end = _end_of_tag(source, begin)
        if end > begin and _mpeg_frame(source.read_at(end, 4)):
            starts[begin] = end
    after_tags = set(starts.values())
    for word in source.find_all(b"Xing", b"Info"):
        frame = _length_frame(source, word)
        if frame is not None and frame not in after_tags:
            starts[frame] = frame
    found = sorted(starts)
    # What stands before the first one may be no audio at all, such as zeros of a download that was not finished.
    return [0, *found] if found and found[0] and _has_frames(source, found[0]) else found


def _end_of_tag(source: Source, begin: int) -> int:
    """Where an ID3v2 tag ends that begins at some place; that place if none does."""
    tag = _ID3.match(source.read_at(begin, _ID3_HEADER_BYTES))
    if not tag:
        return begin
    size = sum(digit << shift for digit, shift in zip(tag[1], (21, 14, 7, 0), strict=True))
    return begin + _ID3_HEADER_BYTES + size


def _length_frame(source: Source, word: int) -> int | None:
    """Where the frame begins that has Xing or Info at some place, if it is one that says a length."""
    for side in _SIDE_BYTES:
        begin = word - 4 - side
        frame = _mpeg_frame(source.read_at(begin, 4)) if begin >= 0 else None
        if frame and frame.side_bytes == side:
            following = source.read_at(begin + frame.bytes, 4)
            if len(following) < 4 or _mpeg_frame(following):
                return begin
    return None


def _has_frames(source: Source, end: int) -> bool:
    """Whether there are three frames in a row before some place."""
    return any(_run_of_frames(source, begin, end, 3) >= 3 for begin in _syncs(source, 0, end))


def _syncs(source: Source, start: int, end: int) -> Iterator[int]:
    """Where frames may begin between two places."""
    for offset in range(start, end, _FIRST_FRAME_BYTES):
        for match in _MPEG_SYNC.finditer(source.read_at(offset, _FIRST_FRAME_BYTES + 1)):
            if match.start() < _FIRST_FRAME_BYTES:
                yield offset + match.start()


def _run_of_frames(source: Source, begin: int, end: int, most: int) -> int:
    """How many frames follow each other from a place on and begin before another, up to so many."""
    frames = 0
    while frames < most and begin < end and (frame := _mpeg_frame(source.read_at(begin, 4))):
        begin += frame.bytes
        frames += 1
    return frames


def mp3_length_s(source: Source) -> float | None:
    """How long an MP3 says that it is, in its first frame; None where it says nothing.

    Raises:
      Reject: "unreadable".
    """
    begin = _end_of_tag(source, 0)
    frame = _mpeg_frame(source.read_at(begin, 4))
    if frame is None:
        return None
    data = source.read_at(begin, _FIRST_FRAME_BYTES)
    # Fraunhofer's stands at a fixed place.
    for place, words in ((4 + frame.side_bytes, (b"Xing", b"Info")), (36, (b"VBRI",))):
        if data[place : place + 4] in words:
            samples = _declared_samples(data[place:], frame.samples)
            return None if samples is None else samples / frame.rate
    return None


def _declared_samples(said: bytes, frame_samples: int) -> int | None:
    """What a frame says from Xing, Info or VBRI on (Fraunhofer's, and LAME's extension of Xing's)."""
    if said.startswith(b"VBRI"):
        return int.from_bytes(said[14:18], "big") * frame_samples
    flags = int.from_bytes(said[4:8], "big")
    if not flags & 1:
        return None
    samples = int.from_bytes(said[8:12], "big") * frame_samples
    encoder = said[8 + sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit) :]
    if len(encoder) >= 24 and encoder[:4].isalnum():
        delays = int.from_bytes(encoder[21:24], "big")
        samples -= (delays >> 12) + (delays & 0xFFF)
    return samples


def mp3_ends_with_a_frame(source: Source) -> bool:
    """Whether the last frame of an MP3 is whole, so that it was not cut off while it was copied; tags may follow it.

    Raises:
      Reject: "unreadable".
    """
    stopped = -1
    for begin in _syncs(source, max(0, source.size - _TAIL_BYTES), source.size):
        if begin < stopped or _run_of_frames(source, begin, source.size, 2) < 2:
            continue
        stopped = begin
        while (frame := _mpeg_frame(source.read_at(stopped, 4))) and stopped + frame.bytes <= source.size:
            stopped += frame.bytes
    return stopped >= 0 and _mpeg_frame(source.read_at(stopped, 4)) is None


# The object of an ASF header that describes the file, and where its fields are: the time that it plays (of 100 ns),
# the part of that before it starts (ms), flags, of which the lowest says that nothing of this is known.
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_PLAYS, _ASF_PREROLL, _ASF_FLAGS, _ASF_FILE_BYTES = 64, 80, 88, 104
_ASF_HEADER_BYTES = 1 << 16


def asf_length_s(source: Source) -> float | None:
    """How long a WMA says that it is; None where it does not.

    FFmpeg tells it only of a file that is as large as its header says: of others it estimates it by the size.

    Raises:
      Reject: "unreadable".
    """
    head = source.read_at(0, _ASF_HEADER_BYTES)
    place = head.find(_ASF_FILE)
    said = head[place : place + _ASF_FILE_BYTES]
    if place < 0 or len(said) < _ASF_FILE_BYTES or said[_ASF_FLAGS] & 1:
        return None
    plays, preroll = (int.from_bytes(said[at : at + 8], "little") for at in (_ASF_PLAYS, _ASF_PREROLL))
    return plays / 1e7 - preroll / 1e3


_STARTS = {
    "wav": _wav_starts,
    "flac": _flac_starts,
    "ogg": _ogg_starts,
    "mp4": _mp4_starts,
    "matroska": _matroska_starts,
    "mpeg audio": _mp3_starts,
}
