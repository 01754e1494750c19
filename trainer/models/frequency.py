"""frequency: filters one frame long and many bands high, for timbre, instruments and equalisation.

In goes a patch of 80 frames and 40 mel bands, 1.86 s. A filter one frame long knows nothing of what comes before or
after; across 32 of the 40 bands it can only learn how the energy is spread over them at one moment: timbre,
instruments, equalisation. As it is lower than the patch, it can move by some bands, so that the same timbre is known at
other pitches. Pooling takes the strongest of all 80 frames, so that it does not matter when it sounds. The paper tries
heights from 30 to 40 bands: --model_options=filter_bands=30.
"""

import keras

from trainer.models import check_fits


def build(
    *, num_classes: int, input_shape: tuple[int, int, int], filters: int = 32, filter_bands: int = 32
) -> keras.Model:
    """Pons, Lidy and Serra (2016): conv 32@32x1 (bands x frames), max-pool 1x80 over all frames, softmax.

    For patches [80, 40, 1]: convolution [80, 9, 32], pooling [1, 9, 32], softmax [num_classes]; 3,368 parameters with
    8 classes, 3,946 with 10.

    Args:
      num_classes: number of labels.
      input_shape: (patch_frames, mel_bands, 1).
      filters: number of filters.
      filter_bands: height of a filter; the paper tries 30 to 40; with 40 it cannot move.
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
