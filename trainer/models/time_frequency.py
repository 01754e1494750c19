"""time_frequency: the filters of `time` and of `frequency` side by side.

In goes a patch of 80 frames and 40 mel bands, 1.86 s, to both kinds of filters: 60 frames long and one band high for
rhythm, one frame long and 32 bands high for timbre. Each is pooled over the axis that it does not look along, all bands
or all frames, and a dense layer joins what they found. So few weights as these, a seventeenth of black_box's, lose
little against it in the paper.
"""

import keras

from trainer.models import check_fits


def build(
    *,
    num_classes: int,
    input_shape: tuple[int, int, int],
    filters: int = 32,
    filter_frames: int = 60,
    filter_bands: int = 32,
    units: int = 200,
) -> keras.Model:
    """Pons, Lidy and Serra (2016): conv 32@1x60 and 32@32x1 (bands x frames), each pooled as alone, dense 200, softmax.

    For patches [80, 40, 1]: time [21, 1, 32] and frequency [1, 9, 32] after pooling, together [960], dense [200],
    softmax [num_classes]; 196,816 parameters with 8 classes, 197,218 with 10.

    Args:
      num_classes: number of labels.
      input_shape: (patch_frames, mel_bands, 1).
      filters: number of filters of each kind.
      filter_frames: length of a filter along time.
      filter_bands: height of a filter along frequency.
      units: of the dense layer.
    """
    check_fits((filter_frames, filter_bands), input_shape)
    log_mel = keras.Input(input_shape, name="log_mel")
    time = keras.layers.Conv2D(filters, (filter_frames, 1), activation="relu", name="time_convolution")(log_mel)
    time = keras.layers.MaxPooling2D((1, input_shape[1]), name="time_pooling")(time)
    frequency = keras.layers.Conv2D(filters, (1, filter_bands), activation="relu", name="frequency_convolution")(
        log_mel
    )
    frequency = keras.layers.MaxPooling2D((input_shape[0], 1), name="frequency_pooling")(frequency)
    both = [keras.layers.Flatten()(time), keras.layers.Flatten()(frequency)]
    joined = keras.layers.Dropout(0.5, name="dropout")(keras.layers.Concatenate(name="both")(both))
    dense = keras.layers.Dense(units, activation="relu", name="dense")(joined)
    dense = keras.layers.Dropout(0.5, name="dense_dropout")(dense)
    # Probabilities stay float32 under mixed precision.
    genre = keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="genre")(dense)
    return keras.Model(log_mel, genre, name="time_frequency")
