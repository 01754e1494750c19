"""What is measured of one track while it is decoded: length, channels, clipping, silence, and a hash of its samples."""

import dataclasses
import hashlib

import google_crc32c
import numpy as np

from beam_preprocess.audio import Block
from beam_preprocess.audio.measure import TrackMeasure

# Samples that reach it are at full scale; 16 bits end at 0.99997, and lossy decoders go past 1.
_FULL_SCALE = 0.9998
# Samples at full scale in a row from which the top is flat: a peak of music has one or two.
_FLAT_TOP = 3
# Length of the stretches whose level is looked at (music has shorter rests), and the level (dB of full scale) below
# which one is silent.
STRETCH_S = 0.5
SILENT_DB = -60.0
# Power of the channels' difference over that of their sum (-60 dB) up to which they are one: lossy coders round each.
_SAME_CHANNELS = 1e-6


@dataclasses.dataclass(frozen=True)
class Sound:
    """One track that can be used.

    Attributes:
      duration_s: length.
      sample_rate: Hz, as in the file.
      channels: as in the file.
      clipped: share of the samples in flat tops at full scale, 0 to 1.
      silent: share of the stretches of STRETCH_S in which the mean of the channels is below SILENT_DB, 0 to 1.
      same_channels: whether it has several channels that are all the same.
      content: hash of rate, length, fingerprint and checksum of the mean of the channels; equal hashes are the same
        samples.
      bandwidth_hz: above it there is nothing.
      cancels: whether its channels are each other's opposite, so that their mean is silent.
      far_beyond_full_scale: whether samples are many times as large as full scale.
    """

    duration_s: float
    sample_rate: int
    channels: int
    clipped: float
    silent: float
    same_channels: bool
    content: str
    bandwidth_hz: float = 0.0
    cancels: bool = False
    far_beyond_full_scale: bool = False


class Measure:
    """Sees the blocks of one track as `audio.stream` decodes them, and sums up."""

    def __init__(self) -> None:
        self._samples = self._rate = self._channels = self._clipped = self._stretches = self._silent = 0
        self._sum_power = self._difference_power = 0.0
        self._checksum = 0
        self._track = TrackMeasure()

    def __call__(self, block: Block, mean: np.ndarray) -> None:
        """Takes a block, and the mean of its channels, [samples] float32."""
        self._track(block, mean)
        rate = block.rate
        self._samples += block.samples
        self._rate, self._channels = rate, len(block.channels)
        self._checksum = google_crc32c.extend(self._checksum, np.ascontiguousarray(mean))
        self._clipped += sum(map(_clipped_samples, block.channels))
        length = max(1, int(STRETCH_S * rate))
        stretches = mean[: len(mean) // length * length].reshape(-1, length)
        power = np.vecdot(stretches, stretches) / length
        self._stretches += len(power)
        self._silent += int(np.count_nonzero(power < 10 ** (SILENT_DB / 10)))
        if self._channels > 1:
            self._sum_power += float(np.dot(mean, mean))
            differences = (channel - mean for channel in block.channels)
            self._difference_power += sum(float(np.dot(one, one)) for one in differences) / self._channels

    def sound(self, words: np.ndarray) -> Sound:
        """What was measured, after the last block, of a track with this fingerprint."""
        # The checksum tells copies of one fingerprint apart, such as louder ones; a hash of all samples takes ten times
        # as long.
        identity = f"{self._rate} {self._samples} {self._checksum} ".encode("ascii") + words.tobytes()
        track = self._track.sound()
        same = self._channels > 1 and self._difference_power <= _SAME_CHANNELS * self._sum_power
        return Sound(
            duration_s=round(self._samples / self._rate, 3),
            sample_rate=self._rate,
            channels=self._channels,
            clipped=_share(self._clipped, self._samples * self._channels),
            silent=_share(self._silent, self._stretches),
            same_channels=same,
            content=hashlib.sha256(identity).hexdigest()[:32],
            bandwidth_hz=round(track.bandwidth_hz),
            cancels=track.cancels,
            far_beyond_full_scale=track.far_beyond_full_scale,
        )


def _clipped_samples(channel: np.ndarray) -> int:
    """Samples of a channel that are in flat tops."""
    if not len(channel) or max(channel.max(), -channel.min()) < _FULL_SCALE:
        return 0
    full = np.abs(channel) >= _FULL_SCALE
    edges = np.flatnonzero(np.diff(full, prepend=False, append=False))
    lengths = edges[1::2] - edges[0::2]
    return int(lengths[lengths >= _FLAT_TOP].sum())


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
