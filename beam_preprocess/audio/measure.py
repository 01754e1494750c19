"""Measures, while a track is decoded, what is not music but can mute it or give its label away."""

import dataclasses

import numpy as np
import scipy.fft

from beam_preprocess.audio.rejects import Block

# A window of 1024 samples each 65,536 (3 s at 22050 Hz): enough for what holds all along a track, at a hundredth of the
# decoder's time.
_WINDOW, _EVERY = 1024, 1 << 16
# Windows measured together: each on its own would take five times as long.
_AT_ONCE = 32
_HANN = np.hanning(_WINDOW).astype(np.float32)
# Power relative to the strongest bin (-80 dB) above which there is sound: music has noise above that up to the top,
# while audio that once had a lower rate has nothing there.
_SOUND_POWER = 1e-8
# Power of the mean of the channels relative to that of the channels (-40 dB) below which they cancel.
_CANCELLED_POWER = 1e-4
# Multiple of full scale. Lossy decoders and floats go somewhat past 1.
_FAR_BEYOND = 8.0
# Half of the range, of full scale (-90 dB), within which all samples of silence lie: silence that was dithered to 16
# bits moves by one step, 3.05e-5; audible music moves by many.
_STILL = 10 ** (-90 / 20)


@dataclasses.dataclass(frozen=True)
class TrackSound:
    """What was measured of a track.

    Attributes:
      sample_rate: Hz, as in the file.
      bandwidth_hz: frequency above which there is no sound; 0 in a silent track.
      cancels: whether the channels are each other's opposite, so that their mean is silent.
      far_beyond_full_scale: whether samples are many times as large as full scale.
      silent: whether no sample of any channel moves from a constant, which need not be 0.
    """

    sample_rate: int
    bandwidth_hz: float
    cancels: bool
    far_beyond_full_scale: bool
    silent: bool = False


class TrackMeasure:
    """Measures a track block by block: an observer of `audio.stream`."""

    def __init__(self) -> None:
        self._rate = self._until_next = 0
        # Of each bin of the mean's spectrum, the largest.
        self._power = np.zeros(_WINDOW // 2 + 1, np.float32)
        self._mean_power = self._channel_power = self._peak = 0.0
        self._ranges: list[tuple[float, float]] = []
        self._silent = True
        # Each [channels, _WINDOW] float32.
        self._windows: list[np.ndarray] = []

    def __call__(self, block: Block, mean: np.ndarray) -> None:
        """Add a block, and the mean of its channels, [samples] float32."""
        self._rate = self._rate or block.rate
        # The only check of every sample; music ends it after the first few blocks.
        if self._silent:
            self._silent = self._is_still(block)
        if self._windows and len(self._windows[0]) != len(block.channels):
            self._measure_windows()
        starts = range(self._until_next, len(mean) - _WINDOW + 1, _EVERY)
        self._until_next = max(0, (starts[-1] + _EVERY if starts else self._until_next) - len(mean))
        for start in starts:
            self._windows.append(np.array([channel[start : start + _WINDOW] for channel in block.channels]))
        if len(self._windows) >= _AT_ONCE:
            self._measure_windows()

    def _measure_windows(self) -> None:
        channels = np.stack(self._windows)
        self._windows.clear()
        mean = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
        spectrum = scipy.fft.rfft(mean * _HANN)
        np.maximum(self._power, (spectrum.real**2 + spectrum.imag**2).max(axis=0), out=self._power)
        self._mean_power += float(np.vdot(mean, mean)) * channels.shape[1]
        self._channel_power += float(np.vdot(channels, channels))
        self._peak = max(self._peak, float(channels.max()), float(-channels.min()))

    def _is_still(self, block: Block) -> bool:
        """Return whether each channel stays within the range of silence, in this block and in all before it."""
        if not block.samples:
            return True
        # Music moves within the first samples; only where it does not are all of them looked at.
        first = [channel[:_WINDOW] for channel in block.channels]
        if any(float(channel.max()) - float(channel.min()) > 2 * _STILL for channel in first):
            return False
        ranges = [(float(channel.min()), float(channel.max())) for channel in block.channels]
        if len(self._ranges) == len(ranges):
            ranges = [(min(low, a), max(high, b)) for (low, high), (a, b) in zip(self._ranges, ranges, strict=True)]
        self._ranges = ranges
        return all(high - low <= 2 * _STILL for low, high in ranges)

    def sound(self) -> TrackSound:
        """Return what was measured, after the last block."""
        if self._windows:
            self._measure_windows()
        loudest = self._power.max()
        bins = np.flatnonzero(self._power > _SOUND_POWER * loudest) if loudest else np.zeros(1)
        return TrackSound(
            sample_rate=self._rate,
            bandwidth_hz=float(bins[-1]) * self._rate / _WINDOW,
            cancels=self._mean_power < _CANCELLED_POWER * self._channel_power,
            far_beyond_full_scale=self._peak > _FAR_BEYOND,
            silent=self._silent,
        )
