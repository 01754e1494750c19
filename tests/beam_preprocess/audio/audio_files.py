"""Audio files of every kind that is read: by PyAV, soundfile and, where they are installed, lame, sox and ffmpeg."""

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
