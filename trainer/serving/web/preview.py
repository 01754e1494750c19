"""A WAV file that every browser plays, made of audio in a format that it may not know, such as AU and AIFF."""

import contextlib
import wave
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from beam_preprocess import audio
from trainer.serving.web.temporary import filling, nameless

_RATE_HZ = 22_050
_FULL_SCALE = 32767


@contextlib.contextmanager
def as_wav(file: BinaryIO, *, max_duration_s: float) -> Iterator[BinaryIO]:
    """Decodes a file into a nameless one, open for reading at its start: mono, 16 bits, 22050 Hz.

    Raises:
      Reject: the file cannot be used.
      Refusal: the temporary directory has no room for it.
    """
    with nameless() as wav:
        with filling():
            # Not by soundfile, which prints what goes wrong in writing to a Python file, and goes on.
            with wave.open(wav, "wb") as sound:
                sound.setnchannels(1)
                sound.setsampwidth(2)
                sound.setframerate(_RATE_HZ)
                for block in audio.stream(file, sample_rate=_RATE_HZ, min_samples=1, max_duration_s=max_duration_s):
                    sound.writeframesraw(np.rint(_FULL_SCALE * np.clip(block, -1, 1)).astype(np.int16).tobytes())
            wav.seek(0)
        yield wav
