"""Two sets of four synthetic genres that differ in one thing alone, the one in tempo and the other in spectrum.

A track of either set is made the same way: bursts of tones on a grid of steps. In each beat the first half of the steps
sound and the others rest; the tempo is the number of steps in a beat. The tones lie at the centres of ten of the forty
mel bands of the default front end; the spectrum is which ten. A tempo genre fixes the steps of a beat and draws the
spectrum from all four, a spectrum genre fixes the spectrum and draws the steps; all else is drawn alike.

Why no single frame tells a tempo: from the end of a burst to the next one's begin there is more than a frame, so a
frame never holds more than one burst, and knows nothing of the others. Whether it holds one, and where, depends on the
place in a step, and on whether that step sounds: every second does, whatever the tempo. So frames have one distribution
in all tempo genres. All that a filter of one frame's length, pooled over the frames of a patch, has left is how far the
number of bursts in 1.86 s varies: 10 to 15 at 80 beats a minute, 11 to 14 at the others.

Why no single band tells a spectrum: every band is loud in one of the four, all ten loud bands of a track sound at the
same times and, after the front end's filters, equally loud. So the bands' courses over time are the same ones in all
spectrum genres, in other places, and a filter of one band's height, pooled over all bands, does not see the place. What
it has left is how much of a burst reaches the next band, which is a little more among the narrow low ones.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from beam_preprocess.synthetic_audio import SAMPLE_RATE_HZ, Samples

# The spread of the tempo within a genre; the nearest two genres are a quarter apart.
STEP_S = (0.072, 0.078)
# At most the shortest step less a frame, 0.0464 s.
BURST_S = (0.018, 0.0255)
BANDS, BANDS_PER_FORMANT = 40, 2
LEVEL_DB, GAIN_DB, FLOOR_DB = (-3.0, 3.0), (-39.0, -29.0), (-56.0, -46.0)

# Steps in a beat, by the tempo at the middle of STEP_S.
STEPS: Mapping[str, int] = MappingProxyType({"bpm_080": 10, "bpm_100": 8, "bpm_133": 6, "bpm_200": 4})
# The lowest loud band; each formant is two bands, and follows the one below it eight bands later.
LOWEST_BAND: Mapping[str, int] = MappingProxyType({"timbre_a": 0, "timbre_b": 2, "timbre_c": 4, "timbre_d": 6})


def synthesize_track(genre: str, *, seed: int, seconds: float, index: int = 0) -> Samples:
    """Returns one track, [round(seconds * 22050)] float32 with its peak below 1: a pure function of the arguments.

    Args:
      genre: a key of `STEPS` or of `LOWEST_BAND`.
      seed: the data set's, 0 or more.
      seconds: length.
      index: which track of the genre, 0 or more.
    """
    rng = np.random.default_rng([seed, [*STEPS, *LOWEST_BAND].index(genre), index])
    steps = STEPS.get(genre, int(rng.choice(list(STEPS.values()))))
    lowest_band = LOWEST_BAND.get(genre, int(rng.choice(list(LOWEST_BAND.values()))))
    return play(rng, size=round(seconds * SAMPLE_RATE_HZ), steps=steps, lowest_band=lowest_band)


def play(rng: np.random.Generator, *, size: int, steps: int, lowest_band: int) -> Samples:
    """One track, [size] float32, of a tempo and a spectrum; what it draws from `rng` depends on neither.

    Args:
      rng: of all that the track has beside.
      size: in samples.
      steps: in a beat, an even number.
      lowest_band: of the loud ones.
    """
    track = _bursts(rng, size, steps) * _tones(rng, size, lowest_band)
    return track + np.float32(10 ** (rng.uniform(*FLOOR_DB) / 20)) * rng.standard_normal(size, np.float32)


def band_edges_hz() -> NDArray[np.float64]:
    """[BANDS + 2], in Hz: band b of the default front end begins at b, peaks at b + 1 and ends at b + 2.

    Slaney's mel scale, as librosa.mel_frequencies(42, fmin=0, fmax=11025): 200/3 Hz a mel up to 1 kHz, then 27 mels
    for a factor of 6.4.
    """
    top = 15 + 27 * math.log(SAMPLE_RATE_HZ / 2 / 1000) / math.log(6.4)
    mels = np.linspace(0, top, BANDS + 2)
    return np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))


def _bursts(rng: np.random.Generator, size: int, steps: int) -> Samples:
    """The level over time, 0 to 1, [size]: a bump at the begin of each step that sounds."""
    step_s, burst_s = rng.uniform(*STEP_S), rng.uniform(*BURST_S)
    # A track is an excerpt: it begins anywhere in a beat.
    place = np.arange(size) / (SAMPLE_RATE_HZ * step_s) + steps * rng.random()
    step, within = np.divmod(place, 1)
    phase = within * step_s / burst_s
    sounds = (phase < 1) & (step % steps < steps // 2)
    return np.where(sounds, np.sin(np.pi * phase) ** 2, 0).astype(np.float32)


def _tones(rng: np.random.Generator, size: int, lowest_band: int) -> Samples:
    """One tone in each loud band, [size]."""
    edges_hz = band_edges_hz()
    gain_db = rng.uniform(*GAIN_DB)
    time_s = np.arange(size) / SAMPLE_RATE_HZ
    track = np.zeros(size, np.float32)
    period = BANDS_PER_FORMANT * len(LOWEST_BAND)
    for band in (first + n for first in range(lowest_band, BANDS, period) for n in range(BANDS_PER_FORMANT)):
        low_hz, centre_hz, high_hz = edges_hz[band : band + 3]
        # The filters have equal areas: a tone's power passes divided by their width.
        level = 10 ** ((gain_db + rng.uniform(*LEVEL_DB)) / 20) * math.sqrt((high_hz - low_hz) / edges_hz[2])
        turns = centre_hz * time_s + rng.random()
        track += (level * np.sin(2 * np.pi * (turns % 1).astype(np.float32))).astype(np.float32)
    return track
