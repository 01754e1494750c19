"""The one gate for audio: a file becomes a mono float32 waveform at one rate, or a `Reject` with its reason."""

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

EXTENSIONS = (".wav", ".au", ".flac", ".mp3", ".ogg", ".oga", ".aif", ".aiff")
# A file with a lying header can ask for any rate; outside this range no audio is made, and resampling would explode.
_MIN_RATE_HZ, _MAX_RATE_HZ = 1_000, 384_000
_BLOCK_VALUES = 1 << 20
# libsndfile's note on a chunk that should be longer or shorter than the header says.
_SHOULD_BE = re.compile(r"(?:data|data size|ssnd)\s*:\s*(\d+) \(should be (\d+)\)", re.IGNORECASE)
# What a program that streams WAV or AU writes for "length not known".
_UNKNOWN_LENGTHS = (0, 0x7FFFFFFF, 0xFFFFFFFF)
# An Ogg page (RFC 3533) is at most this long; the last one carries the end-of-stream flag in its sixth byte.
_MAX_OGG_PAGE_BYTES = 65_307
_OGG_HEADER_BYTES = 27
_OGG_END_OF_STREAM = 0x04
# Sum of squares of a waveform past which a spectrogram's power would overflow float32; of sound it is below 1e18.
_MAX_ENERGY = 1e30


class Reject(Exception):  # noqa: N818 - an outcome with a name of its own, not a fault of the program
    """An input that cannot be used.

    Attributes:
      reason: one word, counted and printed (REASONS).
      detail: what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


REASONS = ("unreadable", "undecodable", "truncated", "unsupported_rate", "not_finite", "empty", "too_short", "too_long")


@np.errstate(over="ignore", invalid="ignore")  # Samples that overflow are rejected below.
def decode(file: BinaryIO, *, sample_rate: int, min_samples: int, max_duration_s: float) -> np.ndarray:
    """Reads an audio file of any format, rate and channel count that libsndfile knows.

    Args:
      file: open for reading, seekable.
      sample_rate: Hz, of the waveform returned.
      min_samples: fewer than these, at that rate, are too short.
      max_duration_s: more audio than this is too long; it bounds memory whatever a header says.

    Returns:
      [samples] float32, the mean of the channels.

    Raises:
      Reject: with one of REASONS.
    """
    try:
        with soundfile.SoundFile(file) as sound:
            if not _MIN_RATE_HZ <= sound.samplerate <= _MAX_RATE_HZ:
                raise Reject("unsupported_rate", f"{sound.samplerate} Hz")
            waveform = _mono(sound, max_duration_s)
            _check_complete(sound, len(waveform))
            rate, container = sound.samplerate, sound.format
        if container == "OGG":
            _check_last_page(file)
    except soundfile.SoundFileError as error:
        # Some of libsndfile's decoders give a number without words.
        detail = getattr(error, "error_string", "") or f"libsndfile error {getattr(error, 'code', '')}".rstrip()
        raise Reject("undecodable", detail.rstrip(".")) from error
    except OSError as error:
        raise Reject("unreadable", error.strerror or str(error)) from error
    if not len(waveform):
        raise Reject("empty", "no samples")
    # One sum tells of every sample; it needs no array of flags, and NaN fails the comparison too.
    if not np.dot(waveform, waveform) <= _MAX_ENERGY:
        raise Reject("not_finite", "NaN, infinite or absurdly large samples")
    if rate != sample_rate:
        waveform = soxr.resample(waveform, rate, sample_rate)
    if len(waveform) < min_samples:
        raise Reject("too_short", f"{len(waveform) / sample_rate:.2f} s, at least {min_samples / sample_rate:.2f} s")
    return waveform


def _mono(sound: soundfile.SoundFile, max_duration_s: float) -> np.ndarray:
    """The mean of the channels, [samples] float32, read in blocks so that a header cannot reserve memory."""
    blocks: list[np.ndarray] = []
    samples = 0
    for block in _blocks(sound):
        blocks.append(block)
        samples += len(block)
        if samples > max_duration_s * sound.samplerate:
            raise Reject("too_long", f"more than {max_duration_s:g} s")
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.zeros(0, np.float32)])


def _blocks(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    frames = _BLOCK_VALUES // sound.channels
    while True:
        block = sound.read(frames, dtype="float32", always_2d=True)
        if len(block):
            yield block[:, 0] if sound.channels == 1 else block.mean(axis=1, dtype=np.float32)
        if len(block) < frames:
            return


def _check_complete(sound: soundfile.SoundFile, samples: int) -> None:
    """Raises Reject when the file holds less than its own header says."""
    for declared, found in _SHOULD_BE.findall(sound.extra_info):
        if int(declared) > int(found) and int(declared) not in _UNKNOWN_LENGTHS:
            raise Reject("truncated", f"{found} of {declared} bytes of audio")
    if samples < sound.frames:
        raise Reject("truncated", f"{samples} of {sound.frames} samples")


def _check_last_page(file: BinaryIO) -> None:
    """Raises Reject when an Ogg stream stops before the end of its last page: its header states no length."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _MAX_OGG_PAGE_BYTES))
    tail = file.read()
    page = tail.rfind(b"OggS")
    header = tail[page : page + _OGG_HEADER_BYTES]
    if page < 0 or len(header) < _OGG_HEADER_BYTES or not header[5] & _OGG_END_OF_STREAM:
        raise Reject("truncated", "the Ogg stream has no last page")
    # The header's last byte counts the segments, whose sizes follow, one byte each.
    sizes = tail[page + _OGG_HEADER_BYTES :][: header[-1]]
    if len(sizes) < header[-1] or len(tail) < page + _OGG_HEADER_BYTES + len(sizes) + sum(sizes):
        raise Reject("truncated", "the Ogg stream's last page is not whole")
