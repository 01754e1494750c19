"""cnn: the ordinary choice of today, four blocks of small square filters, blind to what the axes mean.

In goes a patch of 80 frames and 40 mel bands, 1.86 s, or a longer one: the number of parameters does not change. Each
block halves both axes, so that a value of the last one has seen 46 frames and 46 bands; averaged over the patch, these
values tell the genre. It is here to be compared with.
"""

import keras


def build(*, num_classes: int, input_shape: tuple[int, int, int], filters: int = 32) -> keras.Model:
    """Four times: conv 3x3, batch normalisation, ReLU, max-pool 2x2; then global average, dropout 0.3, softmax.

    For patches [80, 40, 1]: [40, 20, 32], [20, 10, 64], [10, 5, 96] and [5, 3, 128] after pooling, [128] on average,
    softmax [num_classes]; 186,724 parameters with 4 classes, 187,498 with 10 (640 of them the normalisation's moving
    statistics).

    Args:
      num_classes: number of labels.
      input_shape: (patch_frames, mel_bands, 1).
      filters: of the first block; the others have two, three and four times as many.
    """
    log_mel = keras.Input(input_shape, name="log_mel")
    found = log_mel
    for block in range(1, 5):
        found = keras.layers.Conv2D(block * filters, 3, padding="same", name=f"convolution_{block}")(found)
        found = keras.layers.BatchNormalization(name=f"normalization_{block}")(found)
        found = keras.layers.Activation("relu", name=f"relu_{block}")(found)
        found = keras.layers.MaxPooling2D(2, padding="same", name=f"pooling_{block}")(found)
    average = keras.layers.GlobalAveragePooling2D(name="average")(found)
    average = keras.layers.Dropout(0.3, name="dropout")(average)
    # Probabilities stay float32 under mixed precision.
    genre = keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="genre")(average)
    return keras.Model(log_mel, genre, name="cnn")
