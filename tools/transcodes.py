"""One recording in every container, rate and channel count that people have."""

from pathlib import Path

import numpy as np
import soundfile
import soxr

from tools import encode

FORMATS = {
    kind.extension: kind
    for kind in (encode.WAV, encode.FLAC, encode.MP3, encode.VORBIS, encode.AU, encode.M4A, encode.OPUS)
}
RATES_HZ = (8000, 22050, 44100, 48000)
CHANNELS = (1, 2)
# Channels that differ show whether their mean is taken.
_SECOND_CHANNEL = 0.5


def write_transcodes(
    source: Path, folder: Path, *, seconds: float, rates_hz: tuple[int, ...] = RATES_HZ, number: int = 0
) -> list[Path]:
    """Writes a recording's beginning as folder/FORMAT/NUMBER-RATE-CHANNELS.FORMAT, for each of them that there is.

    Args:
      source: any audio file.
      folder: where to.
      seconds: of it that are written.
      rates_hz: of the files; Opus has not every rate.
      number: keeps recordings apart.

    Returns:
      The files, by format.
    """
    with soundfile.SoundFile(source) as sound:
        samples = sound.read(round(seconds * sound.samplerate), dtype="float32", always_2d=True).mean(axis=1)
        at = {rate: soxr.resample(samples, sound.samplerate, rate) for rate in rates_hz}
    # Lossy codecs overshoot; what is clipped differs between decoders.
    peak = max(float(np.abs(waveform).max()) for waveform in at.values())
    written = []
    for extension, kind in FORMATS.items():
        (folder / extension).mkdir(parents=True, exist_ok=True)
        for rate, waveform in at.items():
            if not encode.has_rate(kind, rate):
                continue
            mono = waveform * min(1.0, 0.7 / max(peak, 1e-9))
            for channels in CHANNELS:
                path = folder / extension / f"{number}-{rate}-{channels}.{extension}"
                both = np.stack([mono, _SECOND_CHANNEL * mono], axis=1)
                encode.write(path, both[:, :channels], rate, kind)
                written.append(path)
    return written
