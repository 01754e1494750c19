"""A WAV file that every browser plays, made of audio in a format that it may not know, such as AU and AIFF."""

import contextlib
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import soundfile

from beam_preprocess import audio

_RATE_HZ = 22_050


@contextlib.contextmanager
def as_wav(file: BinaryIO, *, max_duration_s: float) -> Iterator[BinaryIO]:
    """Decodes a file into a nameless one, open for reading at its start: mono, 16 bits, 22050 Hz.

    Raises:
      Reject: the file cannot be used.
    """
    with tempfile.TemporaryFile() as wav:
        with soundfile.SoundFile(wav, "w", _RATE_HZ, channels=1, subtype="PCM_16", format="WAV") as sound:
            for block in audio.stream(file, sample_rate=_RATE_HZ, min_samples=1, max_duration_s=max_duration_s):
                sound.write(block)
        wav.seek(0)
        yield wav
