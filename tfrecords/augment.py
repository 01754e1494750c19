"""Augment batches of normalised training patches: level, equaliser, mixup, masks.

Everything random is a function of (seed, host, index of the batch), with stateless ops, so a resumed training sees what
an uninterrupted one would have seen.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics

# Folded into a batch's seed, one for each use of it.
_GAIN, _PARTNERS, _SHARES, _FREQUENCY_MASKS, _TIME_MASKS, _EQUALIZER = range(6)
# Points of an equaliser curve, evenly spaced from the lowest band to the highest.
_EQUALIZER_POINTS = 5
# The front end's smallest value in decibels: 10 log10(1e-10).
_DB_FLOOR = -100.0
_LOG_10 = math.log(10)


def augmented(
    batches: tf.data.Dataset, augmenter: "Augmenter", *, seed: int = 0, first_batch: int = 0, host_index: int = 0
) -> tf.data.Dataset:
    """Return the batches of `tfrecords.load(training=True)`, augmented.

    Args:
      batches: a dataset of (patches [batch, frames, mel_bands, 1] float32, labels [batch] int32).
      augmenter: applied to each batch.
      seed: seed of the augmentation.
      first_batch: index of the first batch in the training: epoch * batches_per_epoch + step for `load(epoch=epoch,
        step=step)`.
      host_index: which of several hosts this is, from 0; each draws different random numbers.

    Returns:
      A dataset of as many batches of the same shapes; labels are [batch, num_classes] float32 if the augmentation has
      `soft_labels`.

    Raises:
      UserError: a mask could be wider than a patch.
    """
    _, frames, bands, _ = batches.element_spec[0].shape
    augmenter.augmentation.check_fits(patch_frames=frames, mel_bands=bands)
    # Below 0, to differ from the seeds (seed, epoch) of `load`.
    host_seed = tf.constant([seed, -1 - host_index], tf.int64)

    def augment(index: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return augmenter(*batch, seed=_fold_in(host_seed, index))

    numbered = batches.enumerate(start=first_batch)
    return numbered.map(augment, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


class Augmenter:
    """Applies an augmentation to batches of one dataset's patches.

    Args:
      augmentation: the augmentation; also an attribute.
      num_classes: number of labels; used for soft labels only.
      front_end: the manifest's front-end configuration; gains depend on its compression.
      statistics: statistics by which the patches were normalised, or None; used for gains only.
    """

    def __init__(
        self,
        augmentation: Augmentation,
        *,
        num_classes: int,
        front_end: Mapping[str, Any],
        statistics: BandStatistics | None = None,
    ) -> None:
        self.augmentation = augmentation
        self._num_classes = num_classes
        self._statistics = statistics
        has_gains = augmentation.gain_db or augmentation.equalizer_db
        self._add_gain = _ADD_GAIN[front_end["compression"]] if has_gains else None

    def __call__(self, patches: tf.Tensor, labels: tf.Tensor, *, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Augment a batch.

        Args:
          patches: [batch, frames, mel_bands, 1] float32, normalised.
          labels: [batch] int32.
          seed: [2] int64; the same seed gives the same variations.

        Returns:
          patches of the same shape, and labels: the same, or [batch, num_classes] float32 with rows that sum to 1.
        """
        if self._add_gain is not None:
            patches = self._with_gains(patches, self._add_gain, seed)
        if self.augmentation.soft_labels:
            patches, labels = self._mixup(patches, labels, seed)
        # Masks come last, so that a patch mixed in does not show through them.
        return _masked(patches, self.augmentation, seed), labels

    def _with_gains(
        self, patches: tf.Tensor, add_gain: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], seed: tf.Tensor
    ) -> tf.Tensor:
        batch, _, bands, _ = tf.unstack(tf.shape(patches))
        gains_db = tf.zeros([])
        if limit_db := self.augmentation.gain_db:
            gains_db += _uniform(limit_db, [batch, 1, 1, 1], _fold_in(seed, _GAIN))
        if limit_db := self.augmentation.equalizer_db:
            points = _uniform(limit_db, [batch, _EQUALIZER_POINTS], _fold_in(seed, _EQUALIZER))
            gains_db += _interpolate(points, bands)[:, tf.newaxis, :, tf.newaxis]
        if self._statistics is None:
            return add_gain(patches, gains_db)
        mean = tf.constant(self._statistics.mean[:, None], tf.float32)
        scale = tf.constant(self._statistics.scale[:, None], tf.float32)
        return (add_gain(patches * scale + mean, gains_db) - mean) * (1 / scale)

    def _mixup(self, patches: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = tf.shape(patches)[0]
        partners = tf.random.experimental.stateless_shuffle(tf.range(batch), _fold_in(seed, _PARTNERS))
        shares = _beta(self.augmentation.mixup_alpha, batch, _fold_in(seed, _SHARES))
        shares = tf.maximum(shares, 1 - shares)
        labels = tf.one_hot(labels, self._num_classes)
        return (
            _mix(patches, tf.gather(patches, partners), shares[:, None, None, None]),
            _mix(labels, tf.gather(labels, partners), shares[:, None]),
        )


def _fold_in(seed: tf.Tensor, index: tf.Tensor | int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(index, tf.int64))


def _uniform(limit: float, shape: list[tf.Tensor | int], seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, minval=-limit, maxval=limit)


def _interpolate(points: tf.Tensor, bands: tf.Tensor) -> tf.Tensor:
    """Return [batch, bands] on lines through [batch, points], which lie evenly from the first band to the last."""
    positions = tf.linspace(0.0, points.shape[1] - 1.0, bands)
    distances = tf.abs(positions - tf.range(points.shape[1], dtype=tf.float32)[:, tf.newaxis])
    return points @ tf.maximum(1 - distances, 0)


def _add_gain_log10(log_mel: tf.Tensor, gains_db: tf.Tensor) -> tf.Tensor:
    """Add gain to log10(1 + 10000 x): not a shift, as the values end at 0."""
    # Normalising silence and undoing it may have rounded it below 0.
    power = tf.nn.relu(tf.math.expm1(log_mel * _LOG_10)) * 10.0 ** (gains_db / 10)
    return tf.math.log1p(power) / _LOG_10


def _add_gain_db(log_mel: tf.Tensor, gains_db: tf.Tensor) -> tf.Tensor:
    """Add gain to decibels; values at their floor may have been any lower before, and stay there like silence."""
    # Normalising the floor and undoing it rounds it.
    return tf.where(log_mel <= _DB_FLOOR + 1e-3, _DB_FLOOR, tf.maximum(log_mel + gains_db, _DB_FLOOR))


# By the front end's compression.
_ADD_GAIN: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {"log10": _add_gain_log10, "db": _add_gain_db}


def _beta(alpha: float, batch: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw [batch] float32 from Beta(alpha, alpha): a / (a + b) of two draws from Gamma(alpha).

    In logarithms, and from Gamma(alpha + 1) * u^(1 / alpha) with u uniform (Marsaglia and Tsang 2000, section 6): with
    a small alpha most draws from Gamma(alpha) underflow in float32.
    """
    gammas = tf.random.stateless_gamma([2, batch], _fold_in(seed, 0), alpha=alpha + 1)
    uniforms = 1 - tf.random.stateless_uniform([2, batch], _fold_in(seed, 1))
    one, other = tf.unstack(tf.math.log(gammas) + tf.math.log(uniforms) / alpha)
    return tf.sigmoid(one - other)


def _mix(one: tf.Tensor, other: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return share * one + (1 - share) * other


def _masked(patches: tf.Tensor, augmentation: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Return patches with masked values set to 0, the mean of normalised values."""
    batch, frames, bands, _ = tf.unstack(tf.shape(patches))
    keeps = []
    if masks := augmentation.frequency_masks:
        keep = _draw_masks([batch, masks], bands, augmentation.frequency_mask_bands, _fold_in(seed, _FREQUENCY_MASKS))
        keeps.append(keep[:, tf.newaxis, :, tf.newaxis])
    if masks := augmentation.time_masks:
        keep = _draw_masks([batch, masks], frames, augmentation.time_mask_frames, _fold_in(seed, _TIME_MASKS))
        keeps.append(keep[:, :, tf.newaxis, tf.newaxis])
    # One product for both takes a third less time than one for each.
    return patches * math.prod(keeps) if keeps else patches


def _draw_masks(shape: list[tf.Tensor | int], steps: tf.Tensor, max_width: int, seed: tf.Tensor) -> tf.Tensor:
    """Return [batch, steps] float32: 0 under any of the masks, [batch, masks] of 0 to max_width steps, else 1."""
    widths, starts = tf.unstack(tf.random.stateless_uniform([2, *shape, 1], seed))
    widths = tf.floor(widths * (max_width + 1))
    starts = tf.floor(starts * (tf.cast(steps, tf.float32) - widths + 1))
    positions = tf.range(tf.cast(steps, tf.float32))
    return tf.cast(tf.reduce_all((positions < starts) | (positions >= starts + widths), axis=1), tf.float32)


def spec_augment_per_patch(patch: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """Apply an augmentation's masks to one patch, with tensorflow-io's operations.

    Masks have the same distribution as `Augmenter`'s, but are not the same: these operations take no seed but follow
    TensorFlow's global one, so a resumed training cannot repeat them.

    Args:
      patch: [frames, mel_bands], normalised.
      augmentation: the augmentation, of which only the masks are used.

    Returns:
      The masked patch, of the same shape.

    Raises:
      UserError: tensorflow-io is not installed; it has no release for Python 3.13.
    """
    audio = _tensorflow_io_audio()
    # Its masks are narrower than their parameter and end before the last step: one more of each makes up for that.
    for _ in range(augmentation.frequency_masks):
        patch = audio.freq_mask(tf.pad(patch, [[0, 0], [0, 1]]), augmentation.frequency_mask_bands + 1)[:, :-1]
    for _ in range(augmentation.time_masks):
        patch = audio.time_mask(tf.pad(patch, [[0, 1], [0, 0]]), augmentation.time_mask_frames + 1)[:-1]
    return patch


def _tensorflow_io_audio() -> Any:
    """Return tensorflow_io.audio, of which only the pure TensorFlow operations load beside TensorFlow 2.21."""
    with warnings.catch_warnings():
        for message in ("unable to load libtensorflow_io_plugins.so", "file system plugins are not loaded"):
            warnings.filterwarnings("ignore", message, UserWarning)
        try:
            import tensorflow_io
        except ModuleNotFoundError:
            raise UserError(
                "spec_augment_per_patch needs tensorflow-io, and so Python below 3.13; Augmenter draws the same masks"
            ) from None
    return tensorflow_io.audio
