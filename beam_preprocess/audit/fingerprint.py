"""Acoustic fingerprints: a word of 32 bits a frame, the same for copies of a recording, however loud or coded.

The method is that of Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): a bit says whether
the difference in energy between neighbouring bands grows or falls in time. What differs from the paper is chosen for
cost: frames of 186 ms at every 35 ms, not of 370 ms at every 12 ms, and energies compared over 6 frames, which makes
up for the shorter frame. On 120 copies of real tracks (MP3 and Ogg at several qualities, other gains, rates and
starts) 8 % of the bits of aligned words differ in the median, 13 % at most.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

RATE_HZ = 5512
_FRAME_LENGTH, _HOP_LENGTH = 1024, 192
FRAMES_PER_S = RATE_HZ / _HOP_LENGTH
# Where telephones, MP3 encoders and low sampling rates leave music alone.
_LOWEST_HZ, _HIGHEST_HZ = 200.0, 2500.0
BITS = 32
# Frames between the two whose energies are compared.
_LAG = 6
# Transformed at a time; whole blocks, so that every frame is computed beside the same ones however audio is cut.
_BLOCK_FRAMES = 128
# Energy over that of the loudest frame (-60 dB) below which a frame is silence: its bits would be noise.
_SILENCE = 1e-6
# The word of a frame that tells nothing.
NO_WORD = 0


class Fingerprinter:
    """Waveform at RATE_HZ -> words. Window and bands are built once; instances are small, and pickle with them."""

    def __init__(self) -> None:
        self._window = np.hanning(_FRAME_LENGTH + 1)[:-1].astype(np.float32)
        self._bands = _bands()

    def __call__(self, waveforms: Iterable[np.ndarray]) -> np.ndarray:
        """The words of a waveform that comes in blocks; the same to the bit however it is cut.

        Args:
          waveforms: blocks of [samples] float32, at RATE_HZ, with at least one frame in all.

        Returns:
          [1 + samples // 192 - 6] uint32, FRAMES_PER_S; NO_WORD where it is silent.
        """
        words, energies = [np.zeros(0, np.uint32)], []
        slopes = np.zeros((0, BITS), np.float32)
        for bands in self._energies(waveforms):
            energies.append(bands.sum(axis=1))
            slopes = np.concatenate([slopes, np.diff(bands, axis=1)])
            words.append(np.packbits(slopes[_LAG:] < slopes[:-_LAG], axis=1, bitorder="little").view("<u4")[:, 0])
            slopes = slopes[-_LAG:]
        found, energy = np.concatenate(words), np.concatenate(energies)
        found[energy[_LAG:] <= _SILENCE * energy.max()] = NO_WORD
        return found

    def _energies(self, waveforms: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """[frames, BITS + 1] float32; frame i is centred on sample 192 i, zeros beyond the ends."""
        rest = np.zeros(_FRAME_LENGTH // 2, np.float32)
        for waveform in waveforms:
            rest = np.concatenate([rest, waveform])
            while len(rest) >= (_BLOCK_FRAMES - 1) * _HOP_LENGTH + _FRAME_LENGTH:
                yield self._block(rest, _BLOCK_FRAMES)
                rest = rest[_BLOCK_FRAMES * _HOP_LENGTH :]
        rest = np.concatenate([rest, np.zeros(_FRAME_LENGTH // 2, np.float32)])
        if len(rest) >= _FRAME_LENGTH:
            for start in range(0, 1 + (len(rest) - _FRAME_LENGTH) // _HOP_LENGTH, _BLOCK_FRAMES):
                frames = 1 + (len(rest) - _FRAME_LENGTH) // _HOP_LENGTH - start
                yield self._block(rest[start * _HOP_LENGTH :], min(frames, _BLOCK_FRAMES))

    def _block(self, padded: np.ndarray, count: int) -> np.ndarray:
        frames = sliding_window_view(padded, _FRAME_LENGTH)[: count * _HOP_LENGTH : _HOP_LENGTH]
        squares = scipy.fft.rfft(frames * self._window, axis=1, overwrite_x=True).view(np.float32)
        np.square(squares, out=squares)
        return (squares[:, 0::2] + squares[:, 1::2]) @ self._bands


def _bands() -> np.ndarray:
    """[513, 33] float32: which of the transform's frequencies each band holds; equally wide on O'Shaughnessy's mel."""
    low, high = 2595 * np.log10(1 + np.array([_LOWEST_HZ, _HIGHEST_HZ]) / 700)
    mels = np.linspace(low, high, BITS + 2)
    edges = np.rint(700 * (10 ** (mels / 2595) - 1) * _FRAME_LENGTH / RATE_HZ).astype(int)
    bins = np.arange(_FRAME_LENGTH // 2 + 1)[:, np.newaxis]
    return ((edges[:-1] <= bins) & (bins < edges[1:])).astype(np.float32)
