"""band_cnn: a small CNN of square filters, deaf to how a recording is mixed.

In goes a patch of 128 frames and 40 mel bands, 2.97 s, or of any other length from 16 frames on. Each band is first
brought to mean 0 and variance 1 over the patch. But for what is near silence, that takes away the long-term spectrum:
the level, the equalisation, the microphone, by which a network may know an artist's recordings rather than a genre.
What is left is how the bands move, which four ordinary blocks look at.
"""

import keras

from trainer.models.fitting import check_fits

# With fewer, of whose normalised bands less is left, the last block has nothing to look at.
_LEAST_FRAMES = 16
# Names of the first filters -> their frames and bands.
Kinds = dict[str, tuple[int, int]]
SQUARE: Kinds = {"square": (3, 3)}


def build(
    *,
    num_classes: int,
    input_shape: tuple[int, int, int],
    filters: int = 48,
    band_normalization: bool = True,
) -> keras.Model:
    """Normalised bands, four blocks of 3x3, global average, dropout 0.4, softmax.

    The first filters, half as many as `filters`, move by two frames. Each block ends in batch normalisation, ReLU and
    max-pool 2x2. For patches [128, 40, 1]: [64, 40, 24] before pooling, then [32, 20, 24], [16, 10, 48], [8, 5, 96] and
    [4, 3, 96], [96] on average, softmax [num_classes]; 136,444 parameters with 4 classes, 137,026 with 10.

    The normalisation of each band over time is the instance normalisation (Ulyanov et al., 2016) that Kim et al. (2022,
    Domain generalization with relaxed instance frequency-wise normalization) found to carry over to other devices.

    Args:
      num_classes: number of labels.
      input_shape: (patch_frames, mel_bands, 1).
      filters: of the second block; the first has half as many, the other two have twice as many.
      band_normalization: False: bands as they come.

    Raises:
      UserError: the patch has fewer than 16 frames.
    """
    return with_first_filters(
        SQUARE,
        name="band_cnn",
        num_classes=num_classes,
        input_shape=input_shape,
        filters=filters,
        band_normalization=band_normalization,
    )


def with_first_filters(
    kinds: Kinds,
    *,
    name: str,
    num_classes: int,
    input_shape: tuple[int, int, int],
    filters: int,
    band_normalization: bool,
) -> keras.Model:
    """`build`, whose first filters are of several kinds, side by side and equally many of each."""
    check_fits((_LEAST_FRAMES, 1), input_shape)
    bands = log_mel = keras.Input(input_shape, name="log_mel")
    if band_normalization:
        bands = keras.layers.Reshape(input_shape[:2], name="bands")(bands)
        # Without a weight: a group for each band, over its frames.
        bands = keras.layers.GroupNormalization(-1, center=False, scale=False, name="band_normalization")(bands)
        bands = keras.layers.Reshape(input_shape, name="normalized")(bands)
    of_each = max(1, filters // 2 // len(kinds))
    each = [_every_second_frame(of_each, size, kind, bands) for kind, size in kinds.items()]
    found = _pooled(keras.layers.Concatenate(name="filters")(each) if len(each) > 1 else each[0], "filters")
    for block, width in enumerate((filters, 2 * filters, 2 * filters), start=2):
        found = _pooled(_convolution(width, (3, 3), f"convolution_{block}")(found), f"block_{block}")
    average = keras.layers.GlobalAveragePooling2D(name="average")(found)
    average = keras.layers.Dropout(0.4, name="dropout")(average)
    # Probabilities stay float32 under mixed precision.
    genre = keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="genre")(average)
    return keras.Model(log_mel, genre, name=name)


def _every_second_frame(filters: int, size: tuple[int, int], name: str, bands: keras.KerasTensor) -> keras.KerasTensor:
    if size[0] > 1:
        return _convolution(filters, size, name, strides=(2, 1))(bands)
    # With such strides, TensorFlow 2.21's oneDNN convolution by filters of one row reads beyond its input.
    return _convolution(filters, size, name)(bands[:, ::2])


def _convolution(
    filters: int, size: tuple[int, int], name: str, *, strides: tuple[int, int] = (1, 1)
) -> keras.layers.Layer:
    # The normalisation that follows has the bias.
    return keras.layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, name=name)


def _pooled(found: keras.KerasTensor, name: str) -> keras.KerasTensor:
    found = keras.layers.BatchNormalization(name=f"{name}_normalization")(found)
    found = keras.layers.Activation("relu", name=f"{name}_relu")(found)
    return keras.layers.MaxPooling2D(2, padding="same", name=f"{name}_pooling")(found)
