"""Augmentation of training batches, after normalisation: level, equalisation, mixup, masks.

Everything random is a function of (seed, host, index of the batch), with stateless ops: a training that goes on sees
what an unbroken one would have seen.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics

_GAIN, _PARTNERS, _SHARES, _FREQUENCY_MASKS, _TIME_MASKS, _EQUALIZER = range(6)
# Points of an equalisation, evenly spaced from the lowest band to the highest.
_EQUALIZER_POINTS = 5
# Where decibels end in the front end: 10 log10(1e-10).
_DB_FLOOR = -100.0
_LOG_10 = math.log(10)


def augmented(
    batches: tf.data.Dataset, augmenter: "Augmenter", *, seed: int = 0, first_batch: int = 0, host_index: int = 0
) -> tf.data.Dataset:
    """Augments the batches of `tfrecords.load(training=True)`.

    Args:
      batches: of (patches [batch, frames, mel_bands, 1] float32, labels [batch] int32).
      augmenter: what is done to each.
      seed: gives other variations.
      first_batch: index of the first batch among all that the training takes: for load(epoch=E, step=S) of epochs of N
        batches, E * N + S.
      host_index: which of several hosts this is, from 0; each draws apart from the others.

    Returns:
      As many batches of the same shapes; labels are [batch, num_classes] float32 where the augmentation has
      `soft_labels`.

    Raises:
      UserError: a mask could be wider than a patch.
    """
    _, frames, bands, _ = batches.element_spec[0].shape
    augmenter.augmentation.check_fits(patch_frames=frames, mel_bands=bands)
    # Below 0, apart from what `load` draws by (seed, epoch).
    stream = tf.constant([seed, -1 - host_index], tf.int64)

    def augment(index: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return augmenter(*batch, seed=_fold(stream, index))

    numbered = batches.enumerate(start=first_batch)
    return numbered.map(augment, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


class Augmenter:
    """An augmentation for the patches of one dataset.

    Args:
      augmentation: what is done; also an attribute.
      num_classes: number of labels; used for soft labels only.
      front_end: the manifest's configuration of the front end; its compression is used for levels only.
      statistics: by which the patches are normalised, or None; used for levels only.
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
        leveled = augmentation.gain_db or augmentation.equalizer_db
        self._louder = _LOUDER[front_end["compression"]] if leveled else None

    def __call__(self, patches: tf.Tensor, labels: tf.Tensor, *, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A batch with its variations.

        Args:
          patches: [batch, frames, mel_bands, 1] float32, normalised.
          labels: [batch] int32.
          seed: [2] int64; decides every variation.

        Returns:
          patches as before, and labels: as before, or [batch, num_classes] float32, each row summing to 1.
        """
        asked = self.augmentation
        if self._louder is not None:
            patches = self._leveled(patches, self._louder, seed)
        if asked.soft_labels:
            patches, labels = self._mixup(patches, labels, seed)
        # Masks come last: what is mixed in shall not show through them.
        return _masked(patches, asked, seed), labels

    def _leveled(
        self, patches: tf.Tensor, louder: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], seed: tf.Tensor
    ) -> tf.Tensor:
        batch, _, bands, _ = tf.unstack(tf.shape(patches))
        gains_db = tf.zeros([])
        if limit_db := self.augmentation.gain_db:
            gains_db += _within(limit_db, [batch, 1, 1, 1], _fold(seed, _GAIN))
        if limit_db := self.augmentation.equalizer_db:
            points = _within(limit_db, [batch, _EQUALIZER_POINTS], _fold(seed, _EQUALIZER))
            gains_db += _curves(points, bands)[:, tf.newaxis, :, tf.newaxis]
        if self._statistics is None:
            return louder(patches, gains_db)
        mean = tf.constant(self._statistics.mean[:, None], tf.float32)
        scale = tf.constant(self._statistics.scale[:, None], tf.float32)
        return (louder(patches * scale + mean, gains_db) - mean) * (1 / scale)

    def _mixup(self, patches: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = tf.shape(patches)[0]
        partners = tf.random.experimental.stateless_shuffle(tf.range(batch), _fold(seed, _PARTNERS))
        shares = _beta(self.augmentation.mixup_alpha, batch, _fold(seed, _SHARES))
        shares = tf.maximum(shares, 1 - shares)
        labels = tf.one_hot(labels, self._num_classes)
        return (
            _mixed(patches, tf.gather(patches, partners), shares[:, None, None, None]),
            _mixed(labels, tf.gather(labels, partners), shares[:, None]),
        )


def _fold(seed: tf.Tensor, index: tf.Tensor | int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(index, tf.int64))


def _within(limit: float, shape: list[tf.Tensor | int], seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, minval=-limit, maxval=limit)


def _curves(points: tf.Tensor, bands: tf.Tensor) -> tf.Tensor:
    """[batch, bands] lines through [batch, points] values, evenly spaced from the first band to the last."""
    places = tf.linspace(0.0, points.shape[1] - 1.0, bands)
    distances = tf.abs(places - tf.range(points.shape[1], dtype=tf.float32)[:, tf.newaxis])
    return points @ tf.maximum(1 - distances, 0)


def _louder_log10(log_mel: tf.Tensor, gains_db: tf.Tensor) -> tf.Tensor:
    """log10(1 + 10000 x) of so much more power: not a shift, as there is no less than silence."""
    # Silence that was normalised and back may have been rounded to less than none.
    power = tf.nn.relu(tf.math.expm1(log_mel * _LOG_10)) * 10.0 ** (gains_db / 10)
    return tf.math.log1p(power) / _LOG_10


def _louder_db(log_mel: tf.Tensor, gains_db: tf.Tensor) -> tf.Tensor:
    """Decibels shifted; what lies at their floor may have been any less, and stays there, as silence does."""
    # Normalised and back, the floor is rounded.
    return tf.where(log_mel <= _DB_FLOOR + 1e-3, _DB_FLOOR, tf.maximum(log_mel + gains_db, _DB_FLOOR))


# By the front end's compression.
_LOUDER: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {"log10": _louder_log10, "db": _louder_db}


def _beta(alpha: float, batch: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """[batch] float32 draws from Beta(alpha, alpha): a / (a + b) of two draws from Gamma(alpha).

    In logarithms, and from Gamma(alpha + 1) * u^(1 / alpha) with u uniform (Marsaglia and Tsang 2000, section 6): with
    a small alpha most draws from Gamma(alpha) are less than float32 can hold.
    """
    gammas = tf.random.stateless_gamma([2, batch], _fold(seed, 0), alpha=alpha + 1)
    uniforms = 1 - tf.random.stateless_uniform([2, batch], _fold(seed, 1))
    one, other = tf.unstack(tf.math.log(gammas) + tf.math.log(uniforms) / alpha)
    return tf.sigmoid(one - other)


def _mixed(one: tf.Tensor, other: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return share * one + (1 - share) * other


def _masked(patches: tf.Tensor, augmentation: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Patches with what masks hide set to 0, the mean of what is normalised."""
    batch, frames, bands, _ = tf.unstack(tf.shape(patches))
    kept = []
    if masks := augmentation.frequency_masks:
        own = _kept([batch, masks], bands, augmentation.frequency_mask_bands, _fold(seed, _FREQUENCY_MASKS))
        kept.append(own[:, tf.newaxis, :, tf.newaxis])
    if masks := augmentation.time_masks:
        own = _kept([batch, masks], frames, augmentation.time_mask_frames, _fold(seed, _TIME_MASKS))
        kept.append(own[:, :, tf.newaxis, tf.newaxis])
    # One product for both takes a third less time than one for each.
    return patches * math.prod(kept) if kept else patches


def _kept(shape: list[tf.Tensor | int], steps: tf.Tensor, widest: int, seed: tf.Tensor) -> tf.Tensor:
    """[batch, steps] float32: 0 where any of the masks, [batch, masks] of 0 to `widest` steps, lies, else 1."""
    widths, starts = tf.unstack(tf.random.stateless_uniform([2, *shape, 1], seed))
    widths = tf.floor(widths * (widest + 1))
    starts = tf.floor(starts * (tf.cast(steps, tf.float32) - widths + 1))
    at = tf.range(tf.cast(steps, tf.float32))
    return tf.cast(tf.reduce_all((at < starts) | (at >= starts + widths), axis=1), tf.float32)


def spec_augment_per_patch(patch: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """The masks of an augmentation, by tensorflow-io's operations, which take one patch at a time.

    The distribution is the one that `Augmenter` has, but not the draws: these operations have no seed of their own, so
    they follow TensorFlow's global one, and no training that goes on can repeat them.

    Args:
      patch: [frames, mel_bands], normalised.
      augmentation: its masks are used, nothing else.

    Returns:
      The patch, as before but for the masks.

    Raises:
      UserError: tensorflow-io is not installed; there is none for Python 3.13.
    """
    audio = _tensorflow_io_audio()
    # Their masks are narrower than asked for, and end before the last step; so ask for one more, on one step more.
    for _ in range(augmentation.frequency_masks):
        patch = audio.freq_mask(tf.pad(patch, [[0, 0], [0, 1]]), augmentation.frequency_mask_bands + 1)[:, :-1]
    for _ in range(augmentation.time_masks):
        patch = audio.time_mask(tf.pad(patch, [[0, 1], [0, 0]]), augmentation.time_mask_frames + 1)[:-1]
    return patch


def _tensorflow_io_audio() -> Any:
    """tensorflow_io.audio, of which only operations made of TensorFlow's own load beside TensorFlow 2.21."""
    with warnings.catch_warnings():
        for what in ("unable to load libtensorflow_io_plugins.so", "file system plugins are not loaded"):
            warnings.filterwarnings("ignore", what, UserWarning)
        try:
            import tensorflow_io
        except ModuleNotFoundError:
            raise UserError(
                "spec_augment_per_patch needs tensorflow-io, and so Python below 3.13; Augmenter draws the same masks"
            ) from None
    return tensorflow_io.audio
