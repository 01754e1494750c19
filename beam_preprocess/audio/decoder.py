"""The decoder of what is PCM inside: libsndfile, by soundfile.

The one gate for audio: a file becomes a mono float32 waveform at one rate, or a `Reject` with its reason.

Files are read in blocks, so that an hour needs no more memory than a minute.
"""

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from beam_preprocess.audio import containers
from beam_preprocess.audio.block import Block, DecodeError, Reject, after, check_rate
from beam_preprocess.audio.formats import EXTENSIONS, HEAD_BYTES, Container, container_of
from beam_preprocess.audio.source import Source

# Values, over all channels, that are read at a time: few enough for flat memory; fewer would make threads wait for each
# other (a quarter: 15 % more time on two cores).
_BLOCK_VALUES = 1 << 20
# From one value of 16 bits to the next.
_STEP_16_BITS = np.float32(1 / (1 << 15))
# libsndfile's note on a chunk that should be longer or shorter than the header says.
_SHOULD_BE = re.compile(r"(?:data|data size|ssnd)\s*:\s*(\d+) \(should be (\d+)\)", re.IGNORECASE)
# Its number of samples of an MP3 is an estimate; and of a stream without an end, the largest number.
_ESTIMATED, _UNKNOWN = "MPEG", 1 << 62


def blocks(source: Source) -> Iterator[Block]:
    """Decodes a file.

    Raises:
      DecodeError: libsndfile cannot read the file, or the rest of it.
      Reject: it holds less than its header says, or cannot be read.
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
    if not samples and (length := containers.missing_wav_length(source)):
        with source.patched(*length) as repaired:
            yield from blocks(repaired)


def _read_all(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """[frames, channels] float32, at full scale from -1 to 1."""
    frames = max(1, _BLOCK_VALUES // sound.channels)
    while True:
        if sound.subtype == "PCM_16":
            # libsndfile would make the same float32 of these, to the bit, in six times as long.
            samples = sound.read(frames, dtype="int16", always_2d=True)
            block = samples * _STEP_16_BITS
        else:
            block = sound.read(frames, dtype="float32", always_2d=True)
        if len(block):
            yield block
        if len(block) < frames:
            return


def _check_complete(sound: soundfile.SoundFile, samples: int) -> None:
    """Raises Reject when the file holds less than its own header says."""
    for declared, found in _SHOULD_BE.findall(sound.extra_info):
        if int(declared) > int(found) and not containers.is_unknown_length(int(declared)):
            raise Reject("truncated", f"{found} of {declared} bytes of audio")
    if samples < sound.frames < _UNKNOWN and not sound.subtype.startswith(_ESTIMATED):
        raise Reject("truncated", f"{samples} of {sound.frames} samples")


# Sum of squares of a waveform past which a spectrogram's power would overflow float32; of sound it is below 1e18.
MAX_ENERGY = 1e30
# Of a block as it was decoded, and the mean of its channels, [samples] float32.
Observer = Callable[[Block, np.ndarray], None]


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
    name: str = "",
    observe: Observer | None = None,
) -> Generator[np.ndarray, None, None]:
    """Reads an audio file of any format, rate and channel count that libsndfile or FFmpeg knows, in blocks.

    Args:
      file: open for reading, seekable; it is read from its start. What it holds decides how, never its name.
      sample_rate: Hz, of the waveform returned.
      min_samples: fewer than these, at that rate, are too short.
      max_duration_s: more audio than this is too long; it bounds the work whatever a header says.
      name: of the file, whose ending is told when it is of a kind that is not read.
      observe: sees each block as it was decoded, before its rate is changed.

    Yields:
      [samples] float32, the mean of the channels; end to end they are the waveform.

    Raises:
      Reject: with one of REASONS, at any time: what was yielded before it is to be thrown away.
    """
    samples = 0
    for block in _resample(_mono(_decoded(file, name), max_duration_s, observe), sample_rate):
        samples += len(block)
        yield block
    if not samples:
        raise Reject("empty", "no samples")
    if samples < min_samples:
        raise Reject("too_short", f"{samples / sample_rate:.2f} s, at least {min_samples / sample_rate:.2f} s")


def _decoded(file: BinaryIO, name: str) -> Iterator[Block]:
    """The blocks of a file, or of all files that were joined into one."""
    with Source(file).local() as source:
        if not source.size:
            raise Reject("empty", "0 bytes")
        container = container_of(source.read_at(0, HEAD_BYTES))
        try:
            for start, end in containers.parts(source, container):
                with source.part(start, end) as part:
                    yield from _decoded_part(part, container)
            if container.name == "ogg":
                containers.check_last_ogg_page(source)
        except DecodeError as error:
            source.check_readable()
            if container.name == "mp4":
                containers.check_mp4_boxes(source)
            suffix = PurePosixPath(name).suffix.lower()
            if suffix and suffix not in EXTENSIONS:
                raise Reject("unsupported_format", f"{suffix}: {error}") from None
            raise Reject("undecodable", str(error)) from None
        except Reject as reject:
            # To a decoder, what cannot be read is where the file ends.
            if reject.reason in ("truncated", "undecodable"):
                source.check_readable()
            raise


def _decoded_part(source: Source, container: Container) -> Iterator[Block]:
    """The blocks of one file by the decoder that its content asks for; where that one fails, by the other one.

    Raises:
      DecodeError: neither can decode it.
    """
    first, second = _by_sndfile, _by_ffmpeg
    if not container.sndfile_first:
        first, second = second, first
    samples = 0
    try:
        for block in first(source, container):
            samples += block.samples
            yield block
    except DecodeError as failure:
        try:
            yield from after(second(source, container), samples)
        except DecodeError:
            raise failure from None


def _by_sndfile(source: Source, container: Container) -> Iterator[Block]:
    return blocks(source)


def _by_ffmpeg(source: Source, container: Container) -> Iterator[Block]:
    # FFmpeg's libraries take a fifth of a second to load, and most sets of music are of one kind.
    from beam_preprocess.audio import ffmpeg

    return ffmpeg.blocks(source, container)


def _mono(blocks: Iterator[Block], max_duration_s: float, observe: Observer | None) -> Iterator[tuple[np.ndarray, int]]:
    """The mean of the channels, [samples] float32, checked to be finite, and its rate."""
    duration_s = 0.0
    for block in blocks:
        duration_s += block.samples / block.rate
        if duration_s > max_duration_s:
            raise Reject("too_long", f"more than {max_duration_s:g} s")
        mean = _checked_mean(block)
        if observe:
            observe(block, mean)
        yield mean, block.rate


@np.errstate(over="ignore", invalid="ignore")  # Samples that overflow are rejected here.
def _checked_mean(block: Block) -> np.ndarray:
    first, *others = block.channels
    mean = first
    if others:
        # Channel by channel: NumPy's mean over an axis of two takes ten times as long.
        mean = first + others[0]
        for channel in others[1:]:
            mean += channel
        mean /= np.float32(len(block.channels))
    # One sum tells of every sample; it needs no array of flags, and NaN fails the comparison too.
    if not np.dot(mean, mean) <= MAX_ENERGY:
        raise Reject("not_finite", "NaN, infinite or absurdly large samples")
    return mean


def _resample(blocks: Iterator[tuple[np.ndarray, int]], wanted: int) -> Iterator[np.ndarray]:
    """The same to the bit as resampling the whole at once; where the rate changes, one whole follows another."""
    resampler, current = None, wanted
    for block, rate in blocks:
        if rate != current:
            if resampler is not None:
                yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            resampler = None if rate == wanted else soxr.ResampleStream(rate, wanted, 1, dtype="float32")
            current = rate
        yield block if resampler is None else resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
