"""Mean and variance per mel band that can be merged exactly over any union of parts."""

import dataclasses
from collections.abc import Iterable

import numpy as np

_NOTHING = 1e-3


@dataclasses.dataclass(frozen=True)
class BandStatistics:
    """Count, mean and sum of squared deviations per band (Chan, Golub and LeVeque 1979).

    Attributes:
      count: number of frames seen.
      mean: [mel_bands] float64.
      m2: [mel_bands] float64, the sum over frames of (x - mean)^2.

    Raises:
      ValueError: mean and m2 are not of one shape, or a count or sum of squares is below 0.
    """

    count: int
    mean: np.ndarray
    m2: np.ndarray

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.m2.shape:
            raise ValueError(f"mean and m2 must be [mel_bands] both, got {self.mean.shape} and {self.m2.shape}")
        if self.count < 0 or (self.m2 < 0).any():
            raise ValueError(f"count and m2 must be at least 0, got {self.count} and {min(self.m2, default=0)}")

    @classmethod
    def empty(cls, mel_bands: int) -> "BandStatistics":
        """Statistics of no frames."""
        return cls(0, np.zeros(mel_bands), np.zeros(mel_bands))

    @classmethod
    def of(cls, log_mel: np.ndarray) -> "BandStatistics":
        """Statistics of one spectrogram, [frames, mel_bands] of any float type, summed in float64."""
        if not len(log_mel):
            return cls.empty(log_mel.shape[1])
        values = log_mel.astype(np.float64)
        mean = values.mean(axis=0)
        values -= mean
        return cls(len(values), mean, np.einsum("fb,fb->b", values, values))

    @classmethod
    def merged(cls, statistics: Iterable["BandStatistics"], mel_bands: int) -> "BandStatistics":
        """Statistics of the union, folded in the order given so that the same parts give the same bits."""
        total = cls.empty(mel_bands)
        for other in statistics:
            total = total.merge(other)
        return total

    def merge(self, other: "BandStatistics") -> "BandStatistics":
        """Statistics of both sets of frames together."""
        count = self.count + other.count
        if not count:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        m2 = self.m2 + other.m2 + delta * delta * (self.count * other.count / count)
        return BandStatistics(count, mean, m2)

    @property
    def variance(self) -> np.ndarray:
        """Population variance per band, [mel_bands] float64 (zeros when nothing was seen)."""
        return self.m2 / max(self.count, 1)

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation per band, [mel_bands] float64."""
        return np.sqrt(self.variance)

    @property
    def scale(self) -> np.ndarray:
        """What normalising divides each band by, [mel_bands] float64: `std`, or 1 where a band holds nothing.

        Less than a thousandth of log10 units or decibels is what rounding and resampling leave of silence. Divided by
        it, the first sound there would be worth more than all other bands together.
        """
        return np.where(self.std < _NOTHING, 1.0, self.std)

    def to_json(self) -> dict:
        """As plain lists, exact: Python prints floats so that they read back to the same bits."""
        return {"count": self.count, "mean": self.mean.tolist(), "m2": self.m2.tolist()}
