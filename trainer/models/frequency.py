"""frequency: filters one frame long and many bands high, for timbre, instruments and equalisation."""

import keras

from trainer.models.fitting import check_fits


def build(
    *, num_classes: int, input_shape: tuple[int, int, int], filters: int = 32, filter_bands: int = 32
) -> keras.Model:
    """Pons, Lidy and Serra (2016): conv 32@32x1 (bands x frames), max-pool 1x80 over all frames, softmax.

    For patches [80, 40, 1]: convolution [80, 9, 32], pooling [1, 9, 32], softmax [num_classes]; 3,946 parameters with
    10 classes.

    Args:
      num_classes: number of labels.
      input_shape: (patch_frames, mel_bands, 1).
      filters: number of filters.
      filter_bands: height of a filter; the paper tries 30 to 40.
    """
    check_fits((1, filter_bands), input_shape)
    return keras.Sequential(
        [
            keras.Input(input_shape, name="log_mel"),
            keras.layers.Conv2D(filters, (1, filter_bands), activation="relu", name="convolution"),
            keras.layers.MaxPooling2D((input_shape[0], 1), name="pooling"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dropout(0.5, name="dropout"),
            # Probabilities stay float32 under mixed precision.
            keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="genre"),
        ],
        name="frequency",
    )
