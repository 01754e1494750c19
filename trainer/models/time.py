"""time: filters one band high and long in time, for tempo and rhythm.

In goes a patch of 80 frames and 40 mel bands, 1.86 s. A filter one band high cannot tell which notes or instruments
sound together; along 60 frames, 1.4 s, it can only learn how the energy of a band rises and falls: onsets, beats,
tempo. Pooling takes the strongest of all 40 bands, so that it does not matter in which one the rhythm is, and keeps
when it is. The paper also gives the filters 250 frames to look at, 60 or 200 long:
--patch_frames=250 --model_options=filter_frames=200.
"""

import keras

from trainer.models import check_fits


def build(
    *, num_classes: int, input_shape: tuple[int, int, int], filters: int = 32, filter_frames: int = 60
) -> keras.Model:
    """Pons, Lidy and Serra (2016): conv 32@1x60 (bands x frames), max-pool 40x1 over all bands, softmax.

    For patches [80, 40, 1]: convolution [21, 40, 32], pooling [21, 1, 32], softmax [num_classes]; 7,336 parameters
    with 8 classes, 8,682 with 10.

    Args:
      num_classes: number of labels.
      input_shape: (patch_frames, mel_bands, 1).
      filters: number of filters.
      filter_frames: length of a filter.
    """
    check_fits((filter_frames, 1), input_shape)
    return keras.Sequential(
        [
            keras.Input(input_shape, name="log_mel"),
            keras.layers.Conv2D(filters, (filter_frames, 1), activation="relu", name="convolution"),
            keras.layers.MaxPooling2D((1, input_shape[1]), name="pooling"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dropout(0.5, name="dropout"),
            # Probabilities stay float32 under mixed precision.
            keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="genre"),
        ],
        name="time",
    )
