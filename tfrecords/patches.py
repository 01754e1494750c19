"""What patches are, and the arithmetic that makes them: conversion and normalisation, resizing."""

import dataclasses
import math

import numpy as np

from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics, count_patches

WINDOWS, RANDOM, RESIZE = "windows", "random", "resize"
MODES = (WINDOWS, RANDOM, RESIZE)

# Values that are converted at a time: few enough for the processor's cache, and many enough for NumPy's calls.
_BLOCK_VALUES = 1 << 17
# A float16 shifted by the difference of the mantissas' lengths, and its sign extended, holds the sign and all other
# bits of a float32 whose exponent is too small by the difference of the biases; infinities and NaN excepted.
_MANTISSA_SHIFT = 13
_SIGN_AND_VALUE = np.int32(0x8FFFE000 - (1 << 32))
_EXPONENT_SCALE = 2.0**112


@dataclasses.dataclass(frozen=True)
class PatchExtractor:
    """How clips become patches.

    Attributes:
      mode: "windows": patches at every `hop` frames of a clip; "random": as many, each at a random start; "resize":
        one patch, the whole clip resized to `frames` as by tf.image.resize.
      frames: frames in a patch.
      hop: frames from one window of a clip to the next.

    Raises:
      UserError: mode is unknown, or frames or hop is below 1.

    Example:
      >>> PatchExtractor("windows", frames=80, hop=40).count(250)
      5
    """

    mode: str
    frames: int
    hop: int

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"`patch_mode` must be one of {', '.join(MODES)}, got {self.mode!r}")
        for name in ("frames", "hop"):
            if getattr(self, name) < 1:
                raise UserError(f"`patch_{name}` must be at least 1, got {getattr(self, name)}")

    def count(self, frames: int) -> int:
        """Return the number of patches of a clip of so many frames."""
        return 1 if self.mode == RESIZE else count_patches(frames, patch_frames=self.frames, patch_hop=self.hop)

    def counts(self, frames: np.ndarray) -> np.ndarray:
        """Return `count` for each of an array, [clips] int64."""
        if self.mode == RESIZE:
            return np.ones_like(frames)
        return np.maximum((frames - self.frames) // self.hop + 1, 0)


class Normalizer:
    """Converts finite log-mel to a model's input, (x - mean) / scale in float32.

    Of values that float16 holds with fewer digits, those below 6e-5, the first term may count as 0: TensorFlow has the
    processor do so.

    Args:
      statistics: mean and scale of each band; None leaves the values exactly as they are.
      shape: shape of a patch, [frames, mel_bands].

    Attributes:
      is_identity: whether values stay as they are.
      rows: patches that are converted at a time.
    """

    def __init__(self, statistics: BandStatistics | None, shape: tuple[int, int]) -> None:
        self.is_identity = statistics is None
        self.rows = max(1, _BLOCK_VALUES // math.prod(shape))
        if statistics is not None:
            # Repeated for every value of a block: NumPy takes longer where it has to repeat them itself.
            factor, offset = 1 / statistics.scale, statistics.mean / statistics.scale
            self._factor, self._factor_of_shifted, self._offset = (
                np.broadcast_to(np.float32(values), (self.rows, *shape)).copy()
                for values in (factor, factor * _EXPONENT_SCALE, offset)
            )

    def __call__(self, values: np.ndarray, out: np.ndarray) -> None:
        """Convert [n, frames, mel_bands] float16 or float32 to `out`, of the same shape, float32; n is up to `rows`."""
        if self.is_identity:
            out[...] = values
            return
        rows, source, factor = len(values), values, self._factor
        if values.dtype == np.float16:
            # NumPy's own conversion takes each value by itself, five times as long as all of the following.
            bits = out.view(np.int32)
            bits[...] = values.view(np.int16)
            np.left_shift(bits, _MANTISSA_SHIFT, out=bits)
            np.bitwise_and(bits, _SIGN_AND_VALUE, out=bits)
            source, factor = out, self._factor_of_shifted
        np.multiply(source, factor[:rows], out=out)
        np.subtract(out, self._offset[:rows], out=out)


def resize(clip: np.ndarray, length: int) -> np.ndarray:
    """Return a whole clip, [frames, mel_bands], as [length, mel_bands] float32, interpolated as by tf.image.resize.

    Row i of the result lies at (i + 0.5) frames / length - 0.5 of the clip, between two frames that are weighted by
    nearness.
    """
    position = (np.arange(length, dtype=np.float32) + np.float32(0.5)) * np.float32(len(clip) / length) - np.float32(
        0.5
    )
    below = np.floor(position)
    before = clip[np.maximum(below.astype(np.int64), 0)].astype(np.float32)
    after = clip[np.minimum(np.ceil(position).astype(np.int64), len(clip) - 1)].astype(np.float32)
    return before + (after - before) * (position - below)[:, np.newaxis]
