"""The decoder of what is PCM inside: libsndfile, by soundfile."""

import re
from collections.abc import Iterator

import numpy as np
import soundfile

from beam_preprocess.audio import containers
from beam_preprocess.audio.block import Block, check_rate
from beam_preprocess.audio.reject import DecodeError, Reject
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
