"""Writes audio files of every kind that people have, by libsndfile or, what that cannot write, by FFmpeg."""

import shutil
import struct
import tempfile
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream

from tfrecords.common import shutdown

# What FFmpeg would otherwise put in of its own: a random number of a stream, a version.
_REPEATABLE = {"fflags": "+bitexact"}
# The first of these that a codec takes.
_SAMPLE_FORMATS = ("fltp", "flt", "s32p", "s16p", "s16", "s32")
# Of an Ogg page (RFC 3533).
_SERIAL_AT, _CHECKSUM_AT, _SEGMENTS_AT, _HEADER_BYTES = 14, 22, 26, 27
_POLYNOMIAL = 0x04C11DB7


class Kind(NamedTuple):
    """A kind of audio file.

    Attributes:
      extension: of its names.
      container: libsndfile's name of it, or FFmpeg's muxer.
      codec: libsndfile's subtype, or FFmpeg's encoder.
      by_ffmpeg: whether FFmpeg writes it.
      options: of FFmpeg's muxer.
    """

    extension: str
    container: str
    codec: str
    by_ffmpeg: bool = False
    options: tuple[tuple[str, str], ...] = ()


WAV = Kind("wav", "WAV", "PCM_16")
WAV_FLOAT = Kind("wav", "WAV", "FLOAT")
AU = Kind("au", "AU", "PCM_16")
AU_FLOAT = Kind("au", "AU", "FLOAT")
AIFF = Kind("aiff", "AIFF", "PCM_16")
FLAC = Kind("flac", "FLAC", "PCM_16")
VORBIS = Kind("ogg", "OGG", "VORBIS")
MP3 = Kind("mp3", "MP3", "MPEG_LAYER_III")
MP3_TAGGED = Kind("mp3", "mp3", "libmp3lame", by_ffmpeg=True)
MP3_WITHOUT_LENGTH = Kind(
    "mp3", "mp3", "libmp3lame", by_ffmpeg=True, options=(("write_xing", "0"), ("id3v2_version", "0"))
)
OPUS = Kind("opus", "opus", "libopus", by_ffmpeg=True)
OGG_FLAC = Kind("oga", "ogg", "flac", by_ffmpeg=True)
M4A = Kind("m4a", "ipod", "aac", by_ffmpeg=True)
M4A_INDEX_FIRST = Kind("m4a", "ipod", "aac", by_ffmpeg=True, options=(("movflags", "+faststart"),))
M4A_FRAGMENTS = Kind(
    *("m4a", "mp4", "aac"), by_ffmpeg=True, options=(("movflags", "+empty_moov"), ("frag_duration", "500000"))
)
M4A_ALAC = Kind("m4a", "ipod", "alac", by_ffmpeg=True)
WEBM = Kind("webm", "webm", "libopus", by_ffmpeg=True)
MATROSKA = Kind("mka", "matroska", "aac", by_ffmpeg=True)
AAC = Kind("aac", "adts", "aac", by_ffmpeg=True)
WMA = Kind("wma", "asf", "wmav2", by_ffmpeg=True)


def has_rate(kind: Kind, rate: int) -> bool:
    """Whether a kind of file can be at a rate (Hz)."""
    rates = av.Codec(kind.codec, "w").audio_rates if kind.by_ffmpeg else None
    return rates is None or rate in rates


def encode(samples: np.ndarray, rate: int, kind: Kind, *, bit_rate: int = 128_000) -> bytes:
    """A file of audio, as bytes.

    Args:
      samples: [samples, 1 or 2 channels] float32, at full scale from -1 to 1.
      rate: Hz; not every codec has every rate.
      kind: of the file.
      bit_rate: bits a second, where FFmpeg's codec has such a thing.
    """
    with tempfile.TemporaryDirectory() as temporary, shutdown.cleanup_on_signal(lambda: shutil.rmtree(temporary)):
        # By a name: FFmpeg opens some files a second time, to put their index first.
        path = Path(temporary) / "audio"
        write(path, samples, rate, kind, bit_rate=bit_rate)
        return path.read_bytes()


def write(path: Path, samples: np.ndarray, rate: int, kind: Kind, *, bit_rate: int = 128_000) -> None:
    """Writes what `encode` returns to a file."""
    if not kind.by_ffmpeg:
        soundfile.write(path, samples, rate, format=kind.container, subtype=kind.codec)
        return
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(str(path), "w", format=kind.container, options=_REPEATABLE | dict(kind.options)) as file:
        stream = cast("AudioStream", file.add_stream(kind.codec, rate=rate, layout=layout))
        taken = {one.name for one in av.Codec(kind.codec, "w").audio_formats or ()}
        stream.codec_context.format = av.AudioFormat(next(name for name in _SAMPLE_FORMATS if name in taken))
        stream.codec_context.bit_rate = bit_rate
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T, np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        for part in (frame, None):
            # FLAC's last packet holds no audio, and some muxers refuse it.
            file.mux([packet for packet in stream.encode(part) if packet.size])


def with_ogg_checksums(data: bytes, serial: int | None = None) -> bytes:
    """An Ogg stream with the right checksum, and if wanted another serial number, in every page that is whole."""
    fixed = bytearray(data)
    start = data.find(b"OggS")
    while 0 <= start < len(data) - _HEADER_BYTES:
        segments = data[start + _HEADER_BYTES :][: data[start + _SEGMENTS_AT]]
        end = start + _HEADER_BYTES + len(segments) + sum(segments)
        if end > len(data):
            break
        if serial is not None:
            fixed[start + _SERIAL_AT : start + _SERIAL_AT + 4] = struct.pack("<I", serial)
        at = start + _CHECKSUM_AT
        fixed[at : at + 4] = bytes(4)
        fixed[at : at + 4] = struct.pack("<I", _ogg_checksum(fixed[start:end]))
        start = data.find(b"OggS", end)
    return bytes(fixed)


def _remainder(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = (value << 1) ^ (_POLYNOMIAL if value & 0x80000000 else 0)
    return value & 0xFFFFFFFF


_REMAINDERS = [_remainder(byte) for byte in range(256)]


def _ogg_checksum(page: bytes | bytearray) -> int:
    """CRC-32 of a page whose own checksum is 0: most significant bit first, no inversion."""
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ _REMAINDERS[(value >> 24) ^ byte]
    return value
