"""Cut clips into patches and normalise them, each step for a whole tensor of clips at once."""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics, count_patches

WINDOWS, RANDOM, RESIZE = "windows", "random", "resize"
MODES = (WINDOWS, RANDOM, RESIZE)


class Clips(NamedTuple):
    """Decoded clips, or patches of them that are not cut out yet.

    Attributes:
      log_mel: [rows, mel_bands], as stored: the used frames of all clips.
      first: [clips] int64, the row of a clip's (a patch's) first frame.
      frames: [clips] int64, number of frames of the clip.
      about: label [clips] int64 and, if wanted, track_id [clips] string.
    """

    log_mel: tf.Tensor
    first: tf.Tensor
    frames: tf.Tensor
    about: Mapping[str, tf.Tensor]


def select(clips: Clips, chosen: slice | tf.Tensor) -> Clips:
    """Return some of the clips (patches), by a slice or by indices."""

    def take(values: tf.Tensor) -> tf.Tensor:
        return values[chosen] if isinstance(chosen, slice) else tf.gather(values, chosen)

    about = {name: take(values) for name, values in clips.about.items()}
    return Clips(clips.log_mel, take(clips.first), take(clips.frames), about)


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

    @property
    def unit(self) -> int:
        """Frames that stay together: used clips and patches are whole runs of so many, each copied as one."""
        return math.gcd(self.frames, self.hop) if self.mode == WINDOWS else 1

    def used(self, frames: int) -> int:
        """Return how many of a clip's frames are in a patch, a multiple of `unit`; those after them are not used."""
        if self.mode != WINDOWS:
            return frames
        count = self.count(frames)
        return (count - 1) * self.hop + self.frames if count else 0

    def used_of(self, frames: tf.Tensor) -> tf.Tensor:
        """Return `used` for each of a tensor, [clips] int64."""
        if self.mode != WINDOWS:
            return frames
        counts = self.counts(frames)
        return tf.where(counts > 0, (counts - 1) * self.hop + self.frames, 0)

    def count(self, frames: int) -> int:
        """Return the number of patches of a clip of so many frames."""
        return 1 if self.mode == RESIZE else count_patches(frames, patch_frames=self.frames, patch_hop=self.hop)

    def counts(self, frames: tf.Tensor) -> tf.Tensor:
        """Return `count` for each of a tensor, [clips] int64."""
        return tf.ones_like(frames) if self.mode == RESIZE else tf.nn.relu((frames - self.frames) // self.hop + 1)

    def index(self, clips: Clips, order: tf.Tensor | None) -> Clips:
        """Return where the patches of clips lie, in the clips' order or shuffled by the seed `order`, [2] int64."""
        counts = self.counts(clips.frames)
        source = tf.repeat(tf.range(tf.size(counts)), counts)
        position = tf.range(tf.size(source, tf.int64)) - tf.gather(tf.cumsum(counts, exclusive=True), source)
        if order is not None:
            shuffled = tf.random.experimental.stateless_shuffle(tf.range(tf.size(source)), order)
            source, position = tf.gather(source, shuffled), tf.gather(position, shuffled)
        patches = select(clips, source)
        if self.mode == RESIZE:
            return patches
        if self.mode == RANDOM:
            starts = patches.frames - self.frames + 1
            # A seed apart from the shuffle's.
            uniform = tf.random.stateless_uniform(
                tf.shape(starts), tf.random.experimental.stateless_fold_in(order, 1), dtype=tf.float64
            )
            start = tf.cast(uniform * tf.cast(starts, tf.float64), tf.int64)
        else:
            start = position * self.hop
        return patches._replace(first=patches.first + start)

    def cut(self, patches: Clips) -> tf.Tensor:
        """Return the patches, [patches, frames, mel_bands]: as stored or, resized, float32."""
        if self.mode == RESIZE:
            return _resize(patches, self.frames)
        mel_bands = patches.log_mel.shape[1]
        runs = tf.reshape(patches.log_mel, [-1, self.unit * mel_bands])
        number = tf.range(self.frames // self.unit, dtype=tf.int64)
        cut = tf.gather(runs, (patches.first // self.unit)[:, tf.newaxis] + number)
        return tf.reshape(cut, [-1, self.frames, mel_bands])


def _resize(clips: Clips, length: int) -> tf.Tensor:
    """Return whole clips as [clips, length, mel_bands] float32, interpolated linearly as by tf.image.resize.

    Row i of a result lies at (i + 0.5) frames / length - 0.5 of its clip, between two frames that are weighted by
    nearness. tf.image.resize itself takes clips of one length only.
    """
    scale = tf.cast(clips.frames, tf.float32) / length
    position = (tf.range(length, dtype=tf.float32) + 0.5) * scale[:, tf.newaxis] - 0.5
    below = tf.floor(position)
    last = clips.frames[:, tf.newaxis] - 1
    first = clips.first[:, tf.newaxis]
    before = tf.gather(clips.log_mel, first + tf.maximum(tf.cast(below, tf.int64), 0))
    after = tf.gather(clips.log_mel, first + tf.minimum(tf.cast(tf.math.ceil(position), tf.int64), last))
    before, after = tf.cast(before, tf.float32), tf.cast(after, tf.float32)
    return before + (after - before) * (position - below)[..., tf.newaxis]


class Normalizer:
    """Turns cut patches into a model's input: float32, normalised, with a channel.

    Args:
      statistics: mean and standard deviation of each band; None leaves the values as they are.
      frames: frames in a patch.
    """

    def __init__(self, statistics: BandStatistics | None, frames: int) -> None:
        self._mean_and_scale = None
        if statistics is not None:
            # Repeated for every frame, so that the inner loop runs over a whole patch and not over its few bands.
            shape = [frames, len(statistics.mean)]
            mean, std = (
                tf.broadcast_to(tf.constant(row, tf.float32), shape) for row in (statistics.mean, statistics.scale)
            )
            self._mean_and_scale = mean, 1 / std

    def __call__(self, patches: tf.Tensor) -> tf.Tensor:
        """Return [patches, frames, mel_bands] as [patches, frames, mel_bands, 1] float32."""
        patches = tf.cast(patches, tf.float32)
        if self._mean_and_scale is not None:
            mean, scale = self._mean_and_scale
            patches = (patches - mean) * scale
        return patches[..., tf.newaxis]
