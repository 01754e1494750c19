"""musical_cnn: filters of the paper's kinds at the front of a small CNN, deaf to how a recording is mixed.

In goes a patch of 128 frames and 40 mel bands, 2.97 s, or of any other length from 16 frames on. Each band is first
brought to mean 0 and variance 1 over the patch. That takes away the long-term spectrum: the level, the equalisation,
the microphone, by which a network otherwise knows an artist's recordings rather than a genre. What is left is how the
bands move. Then look at it, side by side, filters half of all bands high and one frame long (timbre), filters 31
frames, 0.7 s, long and one band high (rhythm), and small square ones; three ordinary blocks put together what they
found.
"""

import keras

FILTER_BANDS = 20
FILTER_FRAMES = 31


def build(
    *,
    num_classes: int,
    input_shape: tuple[int, int, int],
    filters: int = 48,
    band_normalization: bool = True,
    musical_filters: bool = True,
) -> keras.Model:
    """Normalised bands, three kinds of filters, three blocks of 3x3, global average, dropout 0.4, softmax.

    The first filters, half as many as `filters`, a third of each kind, move by two frames. They and each block end in
    batch normalisation, ReLU and max-pool 2x2. For patches [128, 40, 1]: [64, 40, 24], then [32, 20, 24],
    [16, 10, 48], [8, 5, 96] and [4, 3, 96] after pooling, [96] on average, softmax [num_classes]; 136,708 parameters
    with 4 classes, 137,290 with 10.

    The normalisation of each band over time is the instance normalisation (Ulyanov et al., 2016) that Kim et al. (2022,
    Domain generalization with relaxed instance frequency-wise normalization) found to carry over to other devices.

    Args:
      num_classes: number of labels.
      input_shape: (patch_frames, mel_bands, 1).
      filters: of the first block; the other two have twice as many.
      band_normalization: False: bands as they come.
      musical_filters: False: the first filters are all small square ones.
    """
    log_mel = keras.Input(input_shape, name="log_mel")
    bands = log_mel
    if band_normalization:
        bands = keras.layers.Reshape(input_shape[:2], name="bands")(bands)
        # Without a weight: a group for each band, over its frames.
        bands = keras.layers.GroupNormalization(-1, center=False, scale=False, name="band_normalization")(bands)
        bands = keras.layers.Reshape(input_shape, name="normalized")(bands)
    kinds = {"timbre": (1, FILTER_BANDS), "rhythm": (FILTER_FRAMES, 1), "square": (3, 3)}
    if not musical_filters:
        kinds = dict.fromkeys(kinds, (3, 3))
    each = [_convolution(max(1, filters // 6), size, name, strides=(2, 1))(bands) for name, size in kinds.items()]
    found = _pooled(keras.layers.Concatenate(name="filters")(each), "filters")
    for block, width in enumerate((filters, 2 * filters, 2 * filters), start=1):
        found = _convolution(width, (3, 3), f"convolution_{block}")(found)
        found = _pooled(found, f"block_{block}")
    average = keras.layers.GlobalAveragePooling2D(name="average")(found)
    average = keras.layers.Dropout(0.4, name="dropout")(average)
    # Probabilities stay float32 under mixed precision.
    genre = keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="genre")(average)
    return keras.Model(log_mel, genre, name="musical_cnn")


def _convolution(
    filters: int, size: tuple[int, int], name: str, *, strides: tuple[int, int] = (1, 1)
) -> keras.layers.Layer:
    # The normalisation that follows has the bias.
    return keras.layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, name=name)


def _pooled(found: keras.KerasTensor, name: str) -> keras.KerasTensor:
    found = keras.layers.BatchNormalization(name=f"{name}_normalization")(found)
    found = keras.layers.Activation("relu", name=f"{name}_relu")(found)
    return keras.layers.MaxPooling2D(2, padding="same", name=f"{name}_pooling")(found)
