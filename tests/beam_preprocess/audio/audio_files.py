"""Audio files of every kind that is read: by PyAV, soundfile and, where they are installed, lame, sox and ffmpeg."""

import functools
import io
import shutil
import struct
import subprocess

import numpy as np
import soundfile

from tools import encode

RATE = 44_100


def music(seconds=3.0, rate=RATE):
    """[samples, 2] float32: a tone that swells, the same in both channels but for the level."""
    time_s = np.arange(round(rate * seconds)) / rate
    swell = np.sin(np.pi * time_s / seconds) ** 2 * (0.6 + 0.4 * np.sin(2 * np.pi * 1.5 * time_s))
    return (0.5 * (np.sin(2 * np.pi * 440 * time_s) * swell)[:, np.newaxis] * [1.0, 0.6]).astype(np.float32)


def by_soundfile(container, subtype, samples=None, rate=RATE, **how):
    """A file as libsndfile writes it."""
    file = io.BytesIO()
    soundfile.write(file, music(rate=rate) if samples is None else samples, rate, subtype, format=container, **how)
    return file.getvalue()


def by_av(container, codec, samples=None, rate=RATE, options=None, **how):
    """A file as FFmpeg writes it."""
    kind = encode.Kind(container, container, codec, by_ffmpeg=True, options=tuple((options or {}).items()))
    return encode.encode(music(rate=rate) if samples is None else samples, rate, kind, **how)


def by_program(*command, samples=None, subtype="PCM_16"):
    """What a program makes of a WAV on its standard input and writes to a pipe; None where it is not installed."""
    if not shutil.which(command[0]):
        return None
    wav = by_soundfile("WAV", subtype, samples)
    return subprocess.run(command, input=wav, capture_output=True, check=True).stdout


def with_wav_length(size):
    """A WAV whose header says another length than it has."""
    data = bytearray(by_soundfile("WAV", "PCM_16"))
    assert data[36:40] == b"data"
    data[4:8] = data[40:44] = struct.pack("<I", size)
    return bytes(data)


def with_aiff_length(size, frames):
    """An AIFF whose header says another length than it has."""
    data = bytearray(by_soundfile("AIFF", "PCM_16"))
    sound, common = data.find(b"SSND"), data.find(b"COMM")
    data[4:8] = data[sound + 4 : sound + 8] = struct.pack(">I", size)
    data[common + 10 : common + 14] = struct.pack(">I", frames)
    return bytes(data)


def without_flac_total(data):
    """A FLAC as it is written to a pipe: nobody could go back and say how long it became."""
    data = bytearray(data)
    assert data[:4] == b"fLaC"
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


def ogg_pages(data):
    """The pages of an Ogg stream."""
    starts = [place for place in range(len(data)) if data.startswith(b"OggS\0", place)]
    return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def without_ogg_end(data):
    """An Ogg stream of a recorder that was stopped: its last page does not say that it is the last."""
    *pages, last = ogg_pages(data)
    last = bytearray(last)
    last[5] &= ~4
    return encode.with_ogg_checksums(b"".join([*pages, bytes(last)]))


_MP3 = functools.partial(by_av, "mp3", "libmp3lame", bit_rate=320_000)
_OGG = functools.partial(by_soundfile, "OGG", "VORBIS", compression_level=0.1)
_OPUS = functools.partial(by_av, "ogg", "libopus", rate=48_000, bit_rate=510_000)
_FLAC_TO_PIPE = ("ffmpeg", "-v", "error", "-i", "-", "-f", "flac", "-")

# Ending and content -> a function that makes the file, which holds the music once.
FILES = {
    "wav": lambda: by_soundfile("WAV", "PCM_16"),
    "wav 24 bits": lambda: by_soundfile("WAV", "PCM_24"),
    "wav floats": lambda: by_soundfile("WAV", "DOUBLE"),
    "wav extensible": lambda: by_soundfile("WAVEX", "PCM_16"),
    "wav with mp3 inside": lambda: by_av("wav", "libmp3lame", bit_rate=320_000),
    "rf64": lambda: by_soundfile("RF64", "PCM_16"),
    "w64": lambda: by_soundfile("W64", "PCM_16"),
    "aiff": lambda: by_soundfile("AIFF", "PCM_16"),
    "aifc": lambda: by_soundfile("AIFF", "FLOAT"),
    "caf": lambda: by_soundfile("CAF", "PCM_16"),
    "caf alac": lambda: by_av("caf", "alac"),
    "au": lambda: by_soundfile("AU", "PCM_16"),
    "flac": lambda: by_soundfile("FLAC", "PCM_16"),
    "flac 24 bits": lambda: by_soundfile("FLAC", "PCM_24"),
    "flac to a pipe": lambda: without_flac_total(by_soundfile("FLAC", "PCM_16")),
    "flac to ffmpeg's pipe": lambda: by_program(*_FLAC_TO_PIPE),
    "flac 12 bits": lambda: by_program("sox", "-", "-C0", "-b12", "-t", "flac", "-"),
    "flac 20 bits": lambda: by_program("sox", "-", "-b20", "-t", "flac", "-"),
    "mp3": _MP3,
    "mp3 by soundfile": lambda: by_soundfile("MP3", "MPEG_LAYER_III", compression_level=0.1),
    "mp3 without a Xing frame": lambda: _MP3(options={"write_xing": "0"}),
    "mp3 of variable bit rate": lambda: by_program("lame", "--quiet", "-V2", "-", "-"),
    "mp3 of variable bit rate without a Xing frame": lambda: by_program("lame", "--quiet", "-V2", "-t", "-", "-"),
    "mp3 by sox": lambda: by_program("sox", "-", "-C", "320", "-t", "mp3", "-"),
    "mp3 of free format": lambda: by_program("lame", "--quiet", "--freeformat", "-b", "400", "-", "-"),
    "mp3 with zeros before it": lambda: bytes(100_000) + _MP3(),
    "mp3 from the middle of a frame": lambda: _MP3(options={"write_xing": "0"})[50:],
    "mp3 with a tag behind it": lambda: _MP3() + b"TAG" + bytes(125),
    "mp2": lambda: by_av("mp2", "mp2", bit_rate=256_000),
    "ogg": _OGG,
    "ogg without an end": lambda: without_ogg_end(_OGG()),
    "oga flac": lambda: by_av("ogg", "flac"),
    "opus": _OPUS,
    "opus without an end": lambda: without_ogg_end(_OPUS()),
    "m4a": lambda: by_av("ipod", "aac", bit_rate=192_000),
    "m4a alac": lambda: by_av("ipod", "alac"),
    "m4a in fragments": lambda: by_av("mp4", "aac", bit_rate=192_000, options={"movflags": "frag_keyframe+empty_moov"}),
    "mp4": lambda: by_av("mp4", "aac", bit_rate=192_000, options={"movflags": "faststart"}),
    "mov": lambda: by_av("mov", "aac", bit_rate=192_000),
    "3gp": lambda: by_av("3gp", "aac", bit_rate=192_000),
    "aac": lambda: by_av("adts", "aac", bit_rate=192_000),
    "wma": lambda: by_av("asf", "wmav2", bit_rate=192_000),
    "ac3": lambda: by_av("ac3", "ac3", bit_rate=256_000),
    "wv": lambda: by_av("wv", "wavpack"),
    "tta": lambda: by_av("tta", "tta"),
    "mka": lambda: by_av("matroska", "libopus", rate=48_000, bit_rate=510_000),
    "mkv flac": lambda: by_av("matroska", "flac"),
    "webm": lambda: by_av("webm", "libopus", rate=48_000, bit_rate=510_000),
    "wav by sox to a pipe": lambda: by_program("sox", "-", "-t", "wav", "-"),
    "aiff by sox to a pipe": lambda: by_program("sox", "-", "-t", "aiff", "-"),
    "wav by ffmpeg to a pipe": lambda: by_program("ffmpeg", "-v", "error", "-i", "-", "-f", "wav", "-"),
    "w64 by ffmpeg to a pipe": lambda: by_program("ffmpeg", "-v", "error", "-i", "-", "-f", "w64", "-"),
    "caf by ffmpeg to a pipe": lambda: by_program("ffmpeg", "-v", "error", "-i", "-", "-f", "caf", "-"),
    "rf64 by ffmpeg to a pipe": lambda: by_program(
        "ffmpeg", "-v", "error", "-i", "-", "-rf64", "always", "-f", "wav", "-"
    ),
    **{
        f"wav of {size:#x} bytes": functools.partial(with_wav_length, size)
        for size in (0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF)
    },
    **{
        f"aiff of {size:#x} bytes and {frames:#x} frames": functools.partial(with_aiff_length, size, frames)
        for size in (0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF)
        for frames in (0, 0x7FFFFFFF, 0xFFFFFFFF)
    },
}
# Made of two files, each holding the music once.
JOINED = {
    "mp3": lambda: _MP3() + _MP3(),
    "mp3 without Xing frames": lambda: 2 * _MP3(options={"write_xing": "0"}),
    "mp3 with tags": lambda: 2 * _MP3(options={"id3v2_version": "3"}),
    "mp3 of two rates": lambda: _MP3() + _MP3(rate=32_000),
    "ogg": lambda: 2 * _OGG(),
    "ogg of two rates": lambda: _OGG() + _OGG(rate=22_050),
    "opus": lambda: 2 * _OPUS(),
    "oga flac": lambda: 2 * by_av("ogg", "flac"),
    "wav": lambda: by_soundfile("WAV", "PCM_16") + by_soundfile("WAV", "PCM_24"),
    "flac": lambda: 2 * by_soundfile("FLAC", "PCM_16"),
    "m4a": lambda: 2 * by_av("ipod", "alac"),
    "m4a of two kinds": lambda: by_av("ipod", "alac") + by_av("mp4", "alac", options={"movflags": "faststart"}),
    "webm": lambda: 2 * by_av("webm", "libopus", rate=48_000, bit_rate=510_000),
}


@functools.cache
def make_file(name):
    """Return the bytes of one of FILES; None where its program is not installed."""
    return FILES[name]()


@functools.cache
def make_joined(name):
    """Return the bytes of one of JOINED."""
    return JOINED[name]()
