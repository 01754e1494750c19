"""The gate for audio: a file becomes a mono float32 waveform at one sample rate, or a `Reject` with its reason.

libsndfile decodes what is PCM inside, FFmpeg what is coded, and each what the other one cannot. Files are read in
blocks, so that an hour needs no more memory than a minute.
"""

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from beam_preprocess.audio import headers
from beam_preprocess.audio.formats import EXTENSIONS, HEAD_BYTES, Container, container_of
from beam_preprocess.audio.rejects import Block, DecodeError, Reject, check_rate, skip_samples
from beam_preprocess.audio.source import Source

# Sum of squares of a waveform past which a spectrogram's power would overflow float32; real sound stays below 1e18.
MAX_ENERGY = 1e30
# Called with each decoded block, and the mean of its channels, [samples] float32.
Observer = Callable[[Block, np.ndarray], None]

# Values, over all channels, that libsndfile reads at a time: few enough for flat memory; a quarter of it makes threads
# wait for each other (15 % more time on two cores).
_BLOCK_VALUES = 1 << 20
_STEP_16_BITS = np.float32(1 / (1 << 15))
# libsndfile's note on a chunk that is longer or shorter than its header declares.
_SHOULD_BE = re.compile(r"(?:data|data size|ssnd)\s*:\s*(\d+) \(should be (\d+)\)", re.IGNORECASE)
# libsndfile's number of frames is an estimate for MPEG, and this large for a stream without an end.
_ESTIMATED, _UNKNOWN = "MPEG", 1 << 62


def decode(file: BinaryIO, *, sample_rate: int, min_samples: int, max_duration_s: float) -> np.ndarray:
    """Decode a whole audio file to one waveform, [samples] float32; arguments and errors are those of `stream`."""
    blocks = stream(file, sample_rate=sample_rate, min_samples=min_samples, max_duration_s=max_duration_s)
    return np.concatenate(list(blocks))


def stream(
    file: BinaryIO,
    *,
    sample_rate: int,
    min_samples: int,
    max_duration_s: float,
    name: str = "",
    observe: Observer | None = None,
) -> Generator[np.ndarray, None, None]:
    """Decode an audio file, in blocks, of any format, rate and channel count that libsndfile or FFmpeg reads.

    Args:
      file: open for reading, seekable; read from its start. Its content decides how, never its name.
      sample_rate: Hz, of the waveform.
      min_samples: a waveform of fewer samples is too short.
      max_duration_s: more audio than this is too long; it bounds the work whatever a header declares.
      name: of the file. If it cannot be decoded and its extension is not a known one, the reason is unsupported_format.
      observe: called with each block as it was decoded, before resampling.

    Yields:
      [samples] float32, the mean of the channels; end to end they are the waveform.

    Raises:
      Reject: with one of REASONS, at any time; blocks that were yielded before are to be discarded.
    """
    samples = 0
    for block in _resample(_mono(_decode(file, name), max_duration_s, observe), sample_rate):
        samples += len(block)
        yield block
    if not samples:
        raise Reject("empty", "no samples")
    if samples < min_samples:
        raise Reject("too_short", f"{samples / sample_rate:.2f} s, at least {min_samples / sample_rate:.2f} s")


def _decode(file: BinaryIO, name: str) -> Iterator[Block]:
    """Yield the blocks of a file, or of all files that were joined in it."""
    with Source(file).part() as source:
        if not source.size:
            raise Reject("empty", "0 bytes")
        container = container_of(source.read_at(0, HEAD_BYTES))
        try:
            for start, end in headers.joined_files(source, container):
                with source.part(start, end) as part:
                    yield from _decode_by_either(part, container)
            if container.name == "ogg":
                headers.check_last_ogg_page(source)
        except DecodeError as error:
            source.check_readable()
            if container.name == "mp4":
                headers.check_mp4_boxes(source)
            suffix = PurePosixPath(name).suffix.lower()
            if suffix and suffix not in EXTENSIONS:
                raise Reject("unsupported_format", f"{suffix}: {error}") from None
            raise Reject("undecodable", str(error)) from None
        except Reject as reject:
            # A decoder takes a read error for the end of the file.
            if reject.reason in ("truncated", "undecodable"):
                source.check_readable()
            raise


def _decode_by_either(source: Source, container: Container) -> Iterator[Block]:
    """Yield the blocks of one file by its container's decoder; where that one fails, the rest by the other one.

    Raises:
      DecodeError: neither can decode it.
    """
    first, second = (_by_sndfile, _by_ffmpeg) if container.sndfile_first else (_by_ffmpeg, _by_sndfile)
    samples = 0
    try:
        for block in first(source, container):
            samples += block.samples
            yield block
    except DecodeError as failure:
        try:
            yield from skip_samples(second(source, container), samples)
        except DecodeError:
            raise failure from None


def _by_ffmpeg(source: Source, container: Container) -> Iterator[Block]:
    # Imported where it is needed: FFmpeg's libraries take 0.2 s to load, and most sets of music are of one format.
    from beam_preprocess.audio import ffmpeg

    return ffmpeg.decode_blocks(source, container)


def _by_sndfile(source: Source, container: Container) -> Iterator[Block]:
    """Yield the blocks of a file.

    Raises:
      DecodeError: libsndfile cannot read the file, or the rest of it.
      Reject: the file holds less than its header declares.
    """
    samples = 0
    try:
        with soundfile.SoundFile(source.rewind(), closefd=False) as sound:
            check_rate(sound.samplerate)
            for block in _read_all(sound):
                samples += len(block)
                yield Block(tuple(block.T), sound.samplerate)
            _check_complete(sound, samples)
    except soundfile.SoundFileError as error:
        # Some of libsndfile's decoders give a number without words.
        detail = getattr(error, "error_string", "") or f"libsndfile error {getattr(error, 'code', '')}".rstrip()
        raise DecodeError(detail.rstrip(".")) from error
    if not samples and (length := headers.missing_wav_length(source)):
        with source.patched(*length) as repaired:
            yield from _by_sndfile(repaired, container)


def _read_all(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Yield blocks of [frames, channels] float32, at full scale from -1 to 1."""
    frames = max(1, _BLOCK_VALUES // sound.channels)
    while True:
        if sound.subtype == "PCM_16":
            # The same float32 to the bit as libsndfile makes of these, in a sixth of its time.
            block = sound.read(frames, dtype="int16", always_2d=True) * _STEP_16_BITS
        else:
            block = sound.read(frames, dtype="float32", always_2d=True)
        if len(block):
            yield block
        if len(block) < frames:
            return


def _check_complete(sound: soundfile.SoundFile, samples: int) -> None:
    """Raise Reject ("truncated") where a file holds less than its header declares."""
    for declared, present in _SHOULD_BE.findall(sound.extra_info):
        if int(declared) > int(present) and not headers.is_unknown_length(int(declared)):
            raise Reject("truncated", f"{present} of {declared} bytes of audio")
    if samples < sound.frames < _UNKNOWN and not sound.subtype.startswith(_ESTIMATED):
        raise Reject("truncated", f"{samples} of {sound.frames} samples")


def _mono(blocks: Iterator[Block], max_duration_s: float, observe: Observer | None) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the mean of each block's channels, [samples] float32 and finite, and its rate in Hz."""
    duration_s = 0.0
    for block in blocks:
        duration_s += block.samples / block.rate
        if duration_s > max_duration_s:
            raise Reject("too_long", f"more than {max_duration_s:g} s")
        mean = _checked_mean(block)
        if observe:
            observe(block, mean)
        yield mean, block.rate


@np.errstate(over="ignore", invalid="ignore")  # Samples that overflow are rejected below.
def _checked_mean(block: Block) -> np.ndarray:
    first, *others = block.channels
    mean = first
    if others:
        # Channel by channel: NumPy's mean over an axis of two takes ten times as long.
        mean = first + others[0]
        for channel in others[1:]:
            mean += channel
        mean /= np.float32(len(block.channels))
    # One sum checks every sample without an array of flags; NaN fails the comparison too.
    if not np.dot(mean, mean) <= MAX_ENERGY:
        raise Reject("not_finite", "NaN, infinite or absurdly large samples")
    return mean


def _resample(blocks: Iterator[tuple[np.ndarray, int]], sample_rate: int) -> Iterator[np.ndarray]:
    """Yield the blocks at one rate, the same to the bit as resampling at once all that is of one rate."""
    resampler, current = None, sample_rate
    for block, rate in blocks:
        if rate != current:
            if resampler is not None:
                yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            resampler = None if rate == sample_rate else soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
            current = rate
        yield block if resampler is None else resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
