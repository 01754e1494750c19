"""Reads container headers: the declared length, whether the file is cut off, and files joined into one.

Decoders are lenient with damaged files, each in its own way; these facts decide whether what they returned is the whole
file. Sources: RIFF and RF64 (EBU Tech 3306), MP4 (ISO 14496-12), Ogg (RFC 3533), FLAC (RFC 9639), Matroska (RFC 9559),
MPEG audio (ISO 11172-3 and 13818-3, with the headers of Xing, LAME and Fraunhofer), ID3v2, ASF. Every function raises
`Reject` ("unreadable") where the file cannot be read.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from beam_preprocess.audio.formats import Container
from beam_preprocess.audio.rejects import Reject
from beam_preprocess.audio.source import Source

# MP4: a box's header with its size in 32 bits, and in 64 bits.
_BOX_BYTES, _LONG_BOX_BYTES = 8, 16
# Ogg: the longest page, its header, and the header's flags (sixth byte) of a first page: begins, and begins and ends.
_MAX_OGG_PAGE_BYTES, _OGG_HEADER_BYTES = 65_307, 27
_OGG_BEGINS = (2, 6)
# MPEG audio: sample rates of version 1 and bit rates of layer III, version 1 and lower ones, by their bits.
_MPEG_RATES_HZ = (44_100, 48_000, 32_000)
_LAYER_3_KBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_MPEG_SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
# Side information of layer III; in a file's first frame, a header with its length may follow. VBRI's place is fixed.
_SIDE_BYTES, _VBRI_OFFSET = (32, 17, 9), 36
_ID3 = re.compile(rb"ID3[\x02-\x04]\x00[\x00-\xff]([\x00-\x7f]{4})", re.DOTALL)
_ID3_HEADER_BYTES = 10
# A first frame with its header of the length is no longer than this; and several of the longest frames.
_FIRST_FRAME_BYTES, _TAIL_BYTES = 4096, 1 << 15
# ASF: GUID of the file properties object, and in it the offsets of the play duration (in 100 ns), of the preroll (ms,
# part of the duration) and of the flags, whose lowest bit says that the duration is not known.
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_DURATION, _ASF_PREROLL, _ASF_FLAGS, _ASF_FILE_BYTES = 64, 80, 88, 104
_ASF_HEADER_BYTES = 1 << 16


def joined_files(source: Source, container: Container) -> list[tuple[int, int]]:
    """Return (start, end) in bytes of each file that was joined into this one, as of chained Ogg streams; mostly one.

    Decoded one by one, each loses its own encoder's delay and may have its own rate.
    """
    find = _FIND_STARTS.get(container.name)
    starts = (find(source) if find else []) or [0]
    return list(zip(starts, [*starts[1:], source.size], strict=True))


def is_unknown_length(size: int) -> bool:
    """Return whether a 32-bit size is one that programs write to a pipe, where the length is not known yet.

    These are 0, SoX's 0x7F000000 for AIFF, and the largest signed and unsigned numbers, less a header.
    """
    near = 1 << 16
    return size == 0 or abs(size - 0x7F000000) <= near or abs(size - (1 << 31)) <= near or size >= (1 << 32) - near


def missing_wav_length(source: Source) -> tuple[int, bytes] | None:
    """Return the offset of a size of 0 in a WAV whose data chunk does hold audio, and the bytes of the true size.

    None where no size is 0, or the chunk is empty: the file ends there, or another chunk follows.
    """
    for offset, kind, size in _wav_chunks(source):
        if kind == b"ds64" and not any(source.read_at(offset + 16, 8)):
            # RF64 keeps its sizes, of 64 bits, in this chunk.
            begin = next((at + 8 for at, other, _ in _wav_chunks(source) if other == b"data"), source.size)
            missing = source.size - begin
            return (offset + 16, missing.to_bytes(8, "little")) if missing > 0 else None
        if kind == b"data" and size == 0:
            following = source.read_at(offset + 8, 8)
            end = offset + 16 + int.from_bytes(following[4:], "little")
            empty = len(following) < 8 or (following[:4].isalnum() and end <= source.size)
            return None if empty else (offset + 4, min(source.size - offset - 8, 0xFFFFFFFF).to_bytes(4, "little"))
    return None


def _wav_chunks(source: Source) -> Iterator[tuple[int, bytes, int]]:
    """Yield (offset, kind, declared size in bytes) of each chunk."""
    offset = 12
    while len(header := source.read_at(offset, 8)) == 8:
        size = int.from_bytes(header[4:], "little")
        yield offset, header[:4], size
        offset += 8 + size + size % 2


def _wav_starts(source: Source) -> list[int]:
    starts, offset = [], 0
    while (header := source.read_at(offset, 12))[:4] == b"RIFF" and header[8:] == b"WAVE":
        starts.append(offset)
        size = int.from_bytes(header[4:8], "little")
        offset += 8 + size + size % 2
    return starts


def _flac_starts(source: Source) -> list[int]:
    # The marker and the header of STREAMINFO, which comes first and has 34 bytes.
    return list(source.find_all(b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22"))


def _matroska_starts(source: Source) -> list[int]:
    # The ID of the EBML header, with that of the document's type inside it.
    return [begin for begin in source.find_all(b"\x1a\x45\xdf\xa3") if b"\x42\x82" in source.read_at(begin, 64)]


def check_mp4_boxes(source: Source) -> None:
    """Raise Reject ("truncated") where the last box of an MP4 reaches past the file: its index may have followed."""
    end = max((end for _, _, end in _mp4_boxes(source)), default=0)
    if end > source.size:
        raise Reject("truncated", f"{source.size} of at least {end} bytes")


def _mp4_boxes(source: Source) -> Iterator[tuple[int, bytes, int]]:
    """Yield (offset, kind, end) of each outermost box but a last one without a size."""
    offset = 0
    while len(header := source.read_at(offset, _LONG_BOX_BYTES)) >= _BOX_BYTES and header[4:8].isalnum():
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:], "big")
        if size < _BOX_BYTES:
            return
        yield offset, header[4:8], offset + size
        offset += size


def _mp4_starts(source: Source) -> list[int]:
    starts = [offset for offset, kind, _ in _mp4_boxes(source) if kind == b"ftyp"]
    # What precedes the first one may be the audio itself.
    return [0, *starts[1:]]


def check_last_ogg_page(source: Source) -> None:
    """Raise Reject ("truncated") where an Ogg stream stops inside a page; its header states no length.

    A last page without the flag that ends a stream is what a stopped recorder leaves: it is whole.
    """
    start = max(0, source.size - _MAX_OGG_PAGE_BYTES)
    tail = source.read_at(start, _MAX_OGG_PAGE_BYTES)
    page = tail.rfind(b"OggS")
    if page < 0 and source.size > _MAX_OGG_PAGE_BYTES:
        # Something long follows the stream, which did end.
        return
    length = _ogg_page_bytes(tail[page:])
    if length is None or len(tail) < page + length:
        present = len(tail) - page
        raise Reject("truncated", f"{present} of {length or 'at least 28'} bytes of the Ogg stream's last page")


def _ogg_page_bytes(page: bytes) -> int | None:
    """Return the length of a page, or None where its header is not whole."""
    # The last byte of the fixed header counts the segments; a byte for the size of each follows.
    if len(page) < _OGG_HEADER_BYTES or len(page) < _OGG_HEADER_BYTES + page[_OGG_HEADER_BYTES - 1]:
        return None
    segments = page[_OGG_HEADER_BYTES - 1]
    return _OGG_HEADER_BYTES + segments + sum(page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + segments])


def _ogg_starts(source: Source) -> list[int]:
    # Streams that begin together, such as pictures and sound, count once.
    starts, previous_end = [], -1
    for begin in source.find_all(*(b"OggS\0" + bytes([flags]) for flags in _OGG_BEGINS)):
        if begin != previous_end:
            starts.append(begin)
        previous_end = begin + (_ogg_page_bytes(source.read_at(begin, _OGG_HEADER_BYTES + 255)) or 0)
    return starts


class _MpegFrame(NamedTuple):
    """The header of a frame of MPEG audio, layer III; `rate` in Hz, `side_bytes` of side information."""

    bytes: int
    samples: int
    rate: int
    side_bytes: int


def _mpeg_frame(header: bytes) -> _MpegFrame | None:
    """Return what a frame's first 4 bytes say; None where they are no header of layer III, or of a free bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0 or (header[1] >> 1) & 3 != 1:
        return None
    # 3 is version 1, 2 is version 2, 0 is version 2.5, with a half and a quarter of the sample rates.
    version, bitrate, rate = (header[1] >> 3) & 3, header[2] >> 4, (header[2] >> 2) & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    low = version != 3
    mono = header[3] >> 6 == 3
    rate_hz = _MPEG_RATES_HZ[rate] >> (0 if version == 3 else 1 if version == 2 else 2)
    samples = 576 if low else 1152
    length = samples // 8 * _LAYER_3_KBITS[low][bitrate] * 1000 // rate_hz + ((header[2] >> 1) & 1)
    return _MpegFrame(length, samples, rate_hz, (9 if mono else 17) if low else (17 if mono else 32))


def mp3_length_s(source: Source) -> float | None:
    """Return the length in seconds that an MP3's first frame declares; None where it declares none."""
    begin = _end_of_id3(source, 0)
    frame = _mpeg_frame(source.read_at(begin, 4))
    if frame is None:
        return None
    data = source.read_at(begin, _FIRST_FRAME_BYTES)
    for place, words in ((4 + frame.side_bytes, (b"Xing", b"Info")), (_VBRI_OFFSET, (b"VBRI",))):
        if data[place : place + 4] in words:
            samples = _declared_samples(data[place:], frame.samples)
            return None if samples is None else samples / frame.rate
    return None


def _declared_samples(header: bytes, frame_samples: int) -> int | None:
    """Return the samples that a header of VBRI, or of Xing or Info with LAME's extension, declares."""
    if header.startswith(b"VBRI"):
        return int.from_bytes(header[14:18], "big") * frame_samples
    flags = int.from_bytes(header[4:8], "big")
    if not flags & 1:
        return None
    samples = int.from_bytes(header[8:12], "big") * frame_samples
    # Frames, bytes, table of contents, quality: those that the flags name; then LAME's delay and padding.
    lame = header[8 + sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit) :]
    if len(lame) >= 24 and lame[:4].isalnum():
        delays = int.from_bytes(lame[21:24], "big")
        samples -= (delays >> 12) + (delays & 0xFFF)
    return samples


def mp3_ends_with_a_frame(source: Source) -> bool:
    """Return whether the last frame of an MP3 is whole, so that no copy of it was cut off; tags may follow it."""
    end = -1
    for begin in _frame_syncs(source, max(0, source.size - _TAIL_BYTES), source.size):
        if begin < end or _count_frames(source, begin, source.size, 2) < 2:
            continue
        end = begin
        while (frame := _mpeg_frame(source.read_at(end, 4))) and end + frame.bytes <= source.size:
            end += frame.bytes
    return end >= 0 and _mpeg_frame(source.read_at(end, 4)) is None


def _mp3_starts(source: Source) -> list[int]:
    """Return where MP3s begin: at a tag before a frame, at a frame with a length, and at 0 if that is audio."""
    # Offset of the tag or frame -> offset of the first frame.
    starts = {}
    for begin in source.find_all(b"ID3"):
        end = _end_of_id3(source, begin)
        if end > begin and _mpeg_frame(source.read_at(end, 4)):
            starts[begin] = end
    after_tags = set(starts.values())
    for word in source.find_all(b"Xing", b"Info"):
        frame = _frame_of_length_header(source, word)
        if frame is not None and frame not in after_tags:
            starts[frame] = frame
    offsets = sorted(starts)
    # What precedes the first one may be no audio, such as the zeros of an unfinished download.
    return [0, *offsets] if offsets and offsets[0] and _has_frames(source, offsets[0]) else offsets


def _end_of_id3(source: Source, begin: int) -> int:
    """Return where the ID3v2 tag that begins at an offset ends; the offset itself where there is no tag."""
    tag = _ID3.match(source.read_at(begin, _ID3_HEADER_BYTES))
    if not tag:
        return begin
    size = sum(digit << shift for digit, shift in zip(tag[1], (21, 14, 7, 0), strict=True))
    return begin + _ID3_HEADER_BYTES + size


def _frame_of_length_header(source: Source, word: int) -> int | None:
    """Return the offset of the frame whose header of Xing or Info stands at `word`; None where it is no such frame."""
    for side in _SIDE_BYTES:
        begin = word - 4 - side
        frame = _mpeg_frame(source.read_at(begin, 4)) if begin >= 0 else None
        if frame and frame.side_bytes == side:
            following = source.read_at(begin + frame.bytes, 4)
            if len(following) < 4 or _mpeg_frame(following):
                return begin
    return None


def _has_frames(source: Source, end: int) -> bool:
    """Return whether three frames in a row begin before an offset."""
    return any(_count_frames(source, begin, end, 3) >= 3 for begin in _frame_syncs(source, 0, end))


def _frame_syncs(source: Source, start: int, end: int) -> Iterator[int]:
    """Yield the offsets from `start` to `end` at which a frame of MPEG audio may begin."""
    for offset in range(start, end, _FIRST_FRAME_BYTES):
        for match in _MPEG_SYNC.finditer(source.read_at(offset, _FIRST_FRAME_BYTES + 1)):
            if match.start() < _FIRST_FRAME_BYTES:
                yield offset + match.start()


def _count_frames(source: Source, begin: int, end: int, limit: int) -> int:
    """Return how many frames follow each other from `begin` on and begin before `end`, up to a limit."""
    frames = 0
    while frames < limit and begin < end and (frame := _mpeg_frame(source.read_at(begin, 4))):
        begin += frame.bytes
        frames += 1
    return frames


def asf_length_s(source: Source) -> float | None:
    """Return the length in seconds that the header of an ASF file (WMA) declares; None where it declares none.

    FFmpeg gives it only for a file of the declared size; for others it estimates the length by the size.
    """
    head = source.read_at(0, _ASF_HEADER_BYTES)
    place = head.find(_ASF_FILE)
    properties = head[place : place + _ASF_FILE_BYTES]
    if place < 0 or len(properties) < _ASF_FILE_BYTES or properties[_ASF_FLAGS] & 1:
        return None
    duration, preroll = (int.from_bytes(properties[at : at + 8], "little") for at in (_ASF_DURATION, _ASF_PREROLL))
    return duration / 1e7 - preroll / 1e3


# Name of a container -> the offsets at which files joined in it begin.
_FIND_STARTS = {
    "wav": _wav_starts,
    "flac": _flac_starts,
    "ogg": _ogg_starts,
    "mp4": _mp4_starts,
    "matroska": _matroska_starts,
    "mpeg audio": _mp3_starts,
}
