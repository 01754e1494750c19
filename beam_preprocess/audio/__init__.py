"""The one gate for audio: a file becomes a mono float32 waveform at one rate, or a `Reject` with its reason.

Files are read in blocks, so that an hour needs no more memory than a minute.
"""

import contextlib
import io
import re
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from beam_preprocess.audio.formats import EXTENSIONS as EXTENSIONS

# A file with a lying header can ask for any rate; outside this range no audio is made, and resampling would explode.
_MIN_RATE_HZ, _MAX_RATE_HZ = 1_000, 384_000
# Samples read at a time: few enough for flat memory; fewer would make threads wait for each other (a quarter: 15 % more
# time on two cores).
_BLOCK_VALUES = 1 << 20
# From one value of 16 bits to the next.
_STEP_16_BITS = np.float32(1 / (1 << 15))
# libsndfile's code where a call of the system failed: a read, or a seek that a damaged header asked for.
_SYSTEM_ERROR = 2
# libsndfile's note on a chunk that should be longer or shorter than the header says.
_SHOULD_BE = re.compile(r"(?:data|data size|ssnd)\s*:\s*(\d+) \(should be (\d+)\)", re.IGNORECASE)
# What a program that streams WAV or AU writes for "length not known".
_UNKNOWN_LENGTHS = (0, 0x7FFFFFFF, 0xFFFFFFFF)
# An Ogg page (RFC 3533) is at most this long; the last one carries the end-of-stream flag in its sixth byte.
_MAX_OGG_PAGE_BYTES = 65_307
_OGG_HEADER_BYTES = 27
_OGG_END_OF_STREAM = 0x04
# Sum of squares of a waveform past which a spectrogram's power would overflow float32; of sound it is below 1e18.
MAX_ENERGY = 1e30
# Of [samples, channels] float32 as decoded, their mean [samples] float32, and the rate in Hz.
Observer = Callable[[np.ndarray, np.ndarray, int], None]


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


REASONS = (
    *("unreadable", "undecodable", "unsupported_format", "truncated", "unsupported_rate", "not_finite", "empty"),
    *("too_short", "too_long"),
)


def decode(file: BinaryIO, *, sample_rate: int, min_samples: int, max_duration_s: float) -> np.ndarray:
    """A whole audio file as one waveform, [samples] float32; arguments and errors are those of `stream`."""
    blocks = stream(file, sample_rate=sample_rate, min_samples=min_samples, max_duration_s=max_duration_s)
    return np.concatenate(list(blocks))


def stream(
    file: BinaryIO,
    *,
    sample_rate: int,
    min_samples: int,
    max_duration_s: float,
    observe: Observer | None = None,
) -> Generator[np.ndarray, None, None]:
    """Reads an audio file of any format, rate and channel count that libsndfile knows, in blocks.

    Args:
      file: open for reading, seekable; it is read from its start.
      sample_rate: Hz, of the waveform returned.
      min_samples: fewer than these, at that rate, are too short.
      max_duration_s: more audio than this is too long; it bounds the work whatever a header says.
      observe: sees each block as it was decoded, before its rate is changed.

    Yields:
      [samples] float32, the mean of the channels; end to end they are the waveform.

    Raises:
      Reject: with one of REASONS, at any time: what was yielded before it is to be thrown away.
    """
    source = _Source(file)
    samples = 0
    try:
        if not file.seek(0, io.SEEK_END):
            raise Reject("empty", "0 bytes")
        file.seek(0)
        with _open(file, source) as sound:
            if not _MIN_RATE_HZ <= sound.samplerate <= _MAX_RATE_HZ:
                raise Reject("unsupported_rate", f"{sound.samplerate} Hz")
            for block in _resample(_mono(sound, max_duration_s, observe), sound.samplerate, sample_rate):
                samples += len(block)
                yield block
            container = sound.format
        if container == "OGG":
            _check_last_page(file)
    except Reject:
        # To libsndfile, what cannot be read is where the file ends.
        source.raise_error()
        raise
    except OSError as error:
        raise _unreadable(error) from error
    except soundfile.SoundFileError as error:
        source.raise_error()
        code = getattr(error, "code", "")
        if _descriptor(file) is not None:
            _check_readable(file)
            if code == _SYSTEM_ERROR and _is_decodable(file, source):
                raise Reject("unreadable", "the system gave an error, which has passed") from error
        # Some of libsndfile's decoders give a number without words.
        detail = getattr(error, "error_string", "") or f"libsndfile error {code}".rstrip()
        raise Reject("undecodable", detail.rstrip(".")) from error
    source.raise_error()
    if not samples:
        raise Reject("empty", "no samples")
    if samples < min_samples:
        raise Reject("too_short", f"{samples / sample_rate:.2f} s, at least {min_samples / sample_rate:.2f} s")


def _unreadable(error: OSError) -> Reject:
    return Reject("unreadable", error.strerror or str(error))


def _check_readable(file: BinaryIO) -> None:
    """Raises Reject if a disk gives an error: where libsndfile reads by itself, it may take that for any damage."""
    try:
        file.seek(0)
        while file.read(_BLOCK_VALUES):
            pass
    except OSError as error:
        raise _unreadable(error) from error


def _is_decodable(file: BinaryIO, source: "_Source") -> bool:
    """Whether the error of a moment ago does not come again: it was then none of the file's own damage."""
    file.seek(0)
    try:
        with _open(file, source) as sound:
            while len(_read(sound, _BLOCK_VALUES // sound.channels)):
                pass
    except soundfile.SoundFileError:
        return False
    return True


def _open(file: BinaryIO, source: "_Source") -> soundfile.SoundFile:
    """Opens a file of this machine by its descriptor: libsndfile then reads it itself, without a call for each 8 KB."""
    descriptor = _descriptor(file)
    return soundfile.SoundFile(source) if descriptor is None else soundfile.SoundFile(descriptor, closefd=False)


def _descriptor(file: BinaryIO) -> int | None:
    try:
        return file.fileno()
    except (AttributeError, OSError):
        return None


class _Source:
    """A file as libsndfile reads it: from C, where no exception can pass."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: Exception | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> None:
        # A damaged header sends libsndfile before the file's start; it finds out by the position that stays.
        with contextlib.suppress(ValueError, OSError):
            self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except Exception as error:  # noqa: BLE001 - kept, and raised where it can be
            self._error = self._error or error
            return b""

    def raise_error(self) -> None:
        """Raises what went wrong in reading: Reject for the file itself, else as it was, for the engine to retry."""
        if isinstance(self._error, OSError):
            raise _unreadable(self._error) from self._error
        if self._error is not None:
            raise self._error


def _mono(sound: soundfile.SoundFile, max_duration_s: float, observe: Observer | None) -> Iterator[np.ndarray]:
    """The mean of the channels, blocks of [samples] float32, checked to be finite and as many as declared."""
    frames = _BLOCK_VALUES // sound.channels
    samples = 0
    while True:
        block = _read(sound, frames)
        if len(block):
            samples += len(block)
            if samples > max_duration_s * sound.samplerate:
                raise Reject("too_long", f"more than {max_duration_s:g} s")
            mean = _checked_mean(block)
            if observe:
                observe(block, mean, sound.samplerate)
            yield mean
        if len(block) < frames:
            break
    _check_complete(sound, samples)


def _read(sound: soundfile.SoundFile, frames: int) -> np.ndarray:
    """The next [frames, channels] float32, at full scale from -1 to 1."""
    if sound.subtype != "PCM_16":
        return sound.read(frames, dtype="float32", always_2d=True)
    # libsndfile would make the same float32 of these, to the bit, in six times as long.
    samples: np.ndarray = sound.read(frames, dtype="int16", always_2d=True)
    return samples * _STEP_16_BITS


@np.errstate(over="ignore", invalid="ignore")  # Samples that overflow are rejected here.
def _checked_mean(block: np.ndarray) -> np.ndarray:
    mean = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
    # One sum tells of every sample; it needs no array of flags, and NaN fails the comparison too.
    if not np.dot(mean, mean) <= MAX_ENERGY:
        raise Reject("not_finite", "NaN, infinite or absurdly large samples")
    return mean


def _resample(blocks: Iterator[np.ndarray], rate: int, wanted: int) -> Iterator[np.ndarray]:
    """The same to the bit as resampling the whole at once."""
    if rate == wanted:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, wanted, 1, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


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
