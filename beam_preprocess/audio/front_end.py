"""The front end: waveform -> log-mel spectrogram, as librosa defines it.

NumPy and scipy.fft only, which are imported in a fraction of the time that librosa or scipy.signal take.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from tfrecords.common.command_line import UserError

# Frames of a record at most (3 minutes of the default front end); a longer track becomes several records.
MAX_RECORD_FRAMES = 8192
# Weights of the cosines that a window is the sum of (Harris 1978). The first has three terms: scipy's blackmanharris is
# another window, of four terms and 92 dB.
_WINDOW_TERMS = {
    "blackman_harris_62db": (0.44959, 0.49364, 0.05677),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 1 - 0.54),
    "blackman": (0.42, 0.5, 0.08),
}
WINDOWS = tuple(_WINDOW_TERMS)
COMPRESSIONS = ("log10", "db")
# Slaney's mel scale: linear up to 1000 Hz, 15 mels, and logarithmic above, 27 mels for a factor of 6.4.
_HZ_PER_MEL, _BREAK_HZ = 200 / 3, 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27
# Power below which decibels stop, as in librosa.power_to_db.
_AMIN = 1e-10
# Frames transformed at a time: their spectra stay in the processor's cache (64-256 are alike, 2,000 a third slower).
_BLOCK_FRAMES = 128
# Power of a frame's quietest band over its loudest from which float32 transforms are exact enough (110 dB: 0.02 dB).
_FLOAT32_RANGE = 1e-11


@dataclasses.dataclass(frozen=True)
class FrontEndConfig:
    """How a waveform becomes a spectrogram.

    Attributes:
      sample_rate: Hz; audio at another rate is resampled to it. 1,000 to 384,000.
      frame_length: samples in a frame, and in its Fourier transform. At least 16.
      hop_length: samples from one frame to the next, 1 to frame_length.
      window: one of WINDOWS, periodic.
      n_mels: mel bands (Slaney's scale and area normalisation, as librosa.filters.mel), 1 to frame_length / 2.
      fmin_hz: lower edge of the lowest band.
      fmax_hz: upper edge of the highest band, at most half the sample rate.
      compression: "log10", log10(1 + 10000 x) of the mel power x; or "db", 10 log10(max(x, 1e-10)).

    Raises:
      UserError: a field is outside its range.

    Example:
      >>> config = FrontEndConfig(n_mels=64)
      >>> f"{config.frames_per_s:.2f} frames of {config.n_mels} bands a second"
      '43.07 frames of 64 bands a second'
    """

    sample_rate: int = 22050
    frame_length: int = 1024
    hop_length: int = 512
    window: str = "blackman_harris_62db"
    n_mels: int = 40
    fmin_hz: float = 0.0
    fmax_hz: float = 11025.0
    compression: str = "log10"

    def __post_init__(self) -> None:
        nyquist_hz = self.sample_rate / 2
        rules = (
            ("sample_rate", 1_000 <= self.sample_rate <= 384_000, "from 1000 to 384000 Hz"),
            ("frame_length", self.frame_length >= 16, "at least 16 samples"),
            (
                "hop_length",
                1 <= self.hop_length <= self.frame_length,
                f"from 1 to `frame_length` ({self.frame_length})",
            ),
            ("window", self.window in WINDOWS, f"one of {', '.join(WINDOWS)}"),
            ("n_mels", 1 <= self.n_mels <= self.frame_length // 2, f"from 1 to {self.frame_length // 2}"),
            ("fmin_hz", 0 <= self.fmin_hz < self.fmax_hz, f"from 0 to below `fmax_hz` ({self.fmax_hz:g})"),
            ("fmax_hz", self.fmax_hz <= nyquist_hz, f"at most half the sample rate ({nyquist_hz:g})"),
            ("compression", self.compression in COMPRESSIONS, f"one of {', '.join(COMPRESSIONS)}"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise UserError(f"`{name}` must be {rule}, got {getattr(self, name)!r}")

    @property
    def frames_per_s(self) -> float:
        """Frames in a second of audio."""
        return self.sample_rate / self.hop_length


PRESETS = {
    # Pons, Lidy and Serra (CBMI 2016): at 22050 Hz, their 2048/1024 at 44.1 kHz in seconds.
    "cbmi2016": FrontEndConfig(),
    # librosa.feature.melspectrogram and power_to_db(top_db=None), defaults.
    "librosa": FrontEndConfig(frame_length=2048, window="hann", n_mels=128, compression="db"),
    # Pons and Serra (ISMIR late-breaking, 2019): what their pretrained musicnn hears.
    "musicnn": FrontEndConfig(
        sample_rate=16000, frame_length=512, hop_length=256, window="hann", n_mels=96, fmax_hz=8000.0
    ),
}


class FrontEnd:
    """Waveform -> log-mel spectrogram.

    Frames are centred and padded with zeros, power spectra are averaged by mel bands of unit area (Slaney), and the
    result is compressed: librosa's melspectrogram, transposed, within 1e-3 of a decibel for all that is less than 80 dB
    below the loudest. Window and filters are built once; instances are small and can be pickled.

    Attributes:
      config: the configuration.
      window: [frame_length] float64.
      filters: [frame_length // 2 + 1, n_mels] float32.

    Raises:
      UserError: a band is too narrow to hold any frequency of the transform.

    Example:
      >>> import numpy as np
      >>> front_end = FrontEnd(PRESETS["cbmi2016"])
      >>> second_of_a = np.sin(2 * np.pi * 440 / 22050 * np.arange(22050))
      >>> log_mel = front_end(second_of_a)
      >>> log_mel.shape, log_mel.dtype
      ((44, 40), dtype('float32'))
      >>> loudest = log_mel[20].argmax()
      >>> print(f"{band_centres_hz(front_end.config)[loudest]:.0f} Hz")
      406 Hz
    """

    def __init__(self, config: FrontEndConfig) -> None:
        self.config = config
        self.window = _window(config)
        self._window32 = self.window.astype(np.float32)
        self._check_bands()
        self.filters = np.ascontiguousarray(_mel_filters(config).T)

    def _check_bands(self) -> None:
        """Raise UserError where a band holds no bin of the transform."""
        config = self.config
        edges_hz = _band_edges_hz(config)
        bins_hz = np.fft.rfftfreq(config.frame_length, 1 / config.sample_rate)
        bins = np.searchsorted(bins_hz, edges_hz[2:], "left") - np.searchsorted(bins_hz, edges_hz[:-2], "right")
        if (bins < 1).any():
            raise UserError(
                f"`n_mels={config.n_mels}`: band {int(np.argmin(bins))} is narrower than the transform's resolution of "
                f"{bins_hz[1]:.1f} Hz; take fewer bands or a longer `frame_length`"
            )

    def min_samples(self, frames: int) -> int:
        """Return the length in samples of the shortest waveform that gives `frames` frames."""
        return (frames - 1) * self.config.hop_length

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Return the log-mel spectrogram; frame i is centred on sample i * hop_length, with zeros beyond the ends.

        Args:
          waveform: [samples] float, at the configuration's sample rate.

        Returns:
          [1 + samples // hop_length, n_mels] float32.

        Raises:
          ValueError: waveform is not [samples].
        """
        return np.concatenate(list(self.stream([waveform])))

    def stream(self, waveforms: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the log-mel spectrogram of a waveform that comes in blocks; the same to the bit however it is cut.

        Args:
          waveforms: blocks of [samples] float, of any lengths.

        Yields:
          [frames, n_mels] float32, at least one frame; end to end they are the spectrogram.

        Raises:
          ValueError: a block is not [samples].
        """
        length, hop = self.config.frame_length, self.config.hop_length
        rest = np.zeros(length // 2, np.float32)
        for waveform in waveforms:
            if waveform.ndim != 1:
                raise ValueError(f"waveform must be [samples], got shape {waveform.shape}")
            rest = np.concatenate([rest, waveform], dtype=np.float32)
            # Whole blocks of frames only: each frame is then computed beside the same ones, wherever the cuts are.
            frames = (len(rest) - length + hop) // hop // _BLOCK_FRAMES * _BLOCK_FRAMES
            if frames > 0:
                yield self._log_mel(rest, frames)
                rest = rest[frames * hop :]
        rest = np.concatenate([rest, np.zeros(length - length // 2, np.float32)])
        if frames := (len(rest) - length + hop) // hop:
            yield self._log_mel(rest, frames)

    def _log_mel(self, padded: np.ndarray, count: int) -> np.ndarray:
        """Return the first `count` frames of a padded waveform, [count, n_mels] float32."""
        frames = sliding_window_view(padded, self.config.frame_length)[:: self.config.hop_length]
        mel = np.empty((count, self.config.n_mels), np.float32)
        for start in range(0, count, _BLOCK_FRAMES):
            block = slice(start, min(start + _BLOCK_FRAMES, count))
            np.matmul(_power(frames[block], self._window32), self.filters, out=mel[block])
            if self.config.compression == "db":
                self._refine(frames[block], mel[block])
        return self._compress(mel)

    def _refine(self, frames: np.ndarray, mel: np.ndarray) -> None:
        """Compute again, in float64, the frames whose quietest band is changed by float32's rounding of the peak.

        Decibels show it: without this, bands 125 dB under the peak are off by 0.06 dB. Few frames of music are so
        steep; log10(1 + 10000 x) does not resolve such bands at all.
        """
        quietest = np.maximum(mel.min(axis=1), _AMIN)
        steep = np.flatnonzero(quietest < _FLOAT32_RANGE * mel.max(axis=1))
        if len(steep):
            mel[steep] = _power(frames[steep].astype(np.float64), self.window).astype(np.float32) @ self.filters

    def _compress(self, mel: np.ndarray) -> np.ndarray:
        if self.config.compression == "log10":
            # log1p keeps what 1 + x would round away near silence.
            return np.log1p(mel * np.float32(1e4)) * np.float32(1 / math.log(10))
        return np.log10(np.maximum(mel, np.float32(_AMIN))) * np.float32(10)


def segment_lengths(frames: int) -> list[int]:
    """Return the frames of each record of a track: equal to within one, at most MAX_RECORD_FRAMES.

    Example:
      >>> segment_lengths(20_000)
      [6667, 6667, 6666]
    """
    count = -(-frames // MAX_RECORD_FRAMES)
    return [frames // count + (index < frames % count) for index in range(count)]


def band_centres_hz(config: FrontEndConfig) -> np.ndarray:
    """Return the frequency at which each mel band is most sensitive, [n_mels] float64 in Hz."""
    return _band_edges_hz(config)[1:-1]


def _band_edges_hz(config: FrontEndConfig) -> np.ndarray:
    """Return [n_mels + 2]: band i reaches from edge i to edge i + 2 and is most sensitive at edge i + 1."""
    lowest, highest = _mel_of_hz(config.fmin_hz), _mel_of_hz(config.fmax_hz)
    mels = np.linspace(lowest, highest, config.n_mels + 2)
    return np.where(
        mels < _BREAK_MEL,
        _HZ_PER_MEL * mels,
        _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mels, _BREAK_MEL) - _BREAK_MEL)),
    )


def _mel_of_hz(hz: float) -> float:
    return hz / _HZ_PER_MEL if hz < _BREAK_HZ else _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _mel_filters(config: FrontEndConfig) -> np.ndarray:
    """Return the bands' weights, [n_mels, bins] float32: triangles between the bands' edges, of unit area in Hz."""
    edges_hz = _band_edges_hz(config)
    distances_hz = edges_hz[:, np.newaxis] - np.fft.rfftfreq(config.frame_length, 1 / config.sample_rate)
    widths_hz = np.diff(edges_hz)[:, np.newaxis]
    rising, falling = -distances_hz[:-2] / widths_hz[:-1], distances_hz[2:] / widths_hz[1:]
    weights = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    weights *= (2 / (edges_hz[2:] - edges_hz[:-2]))[:, np.newaxis]
    return weights


def _window(config: FrontEndConfig) -> np.ndarray:
    """Return the periodic window, [frame_length] float64."""
    phase = np.linspace(-np.pi, np.pi, config.frame_length + 1)
    window = np.zeros_like(phase)
    for order, weight in enumerate(_WINDOW_TERMS[config.window]):
        window += weight * np.cos(order * phase)
    return window[:-1].copy()


def _power(frames: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the power spectra [frames, bins] of [frames, frame_length], in the precision of the arguments."""
    squares = scipy.fft.rfft(frames * window, axis=1, overwrite_x=True).view(window.dtype)
    np.square(squares, out=squares)
    return squares[:, 0::2] + squares[:, 1::2]
