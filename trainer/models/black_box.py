"""black_box: filters of any shape, the ordinary choice that the musically motivated models are held against.

In goes a patch of 80 frames and 40 mel bands, 1.86 s. Each filter covers 12 bands and 8 frames, 0.19 s: enough for a
sound's onset and some of its overtones, chosen without thought of either timbre or rhythm, as in image recognition.
Pooling takes the strongest of 4 neighbouring bands, so that a small change of pitch changes little; when something
happens is kept. A dense layer then looks at all of it at once. The paper also lengthens the filters to 12x200 on
patches of 250 frames: --model_options=filter_frames=200 --patch_frames=250.
"""

import keras

from trainer.models import check_fits


def build(
    *,
    num_classes: int,
    input_shape: tuple[int, int, int],
    filters: int = 32,
    filter_bands: int = 12,
    filter_frames: int = 8,
    pool_bands: int = 4,
    units: int = 200,
) -> keras.Model:
    """Pons, Lidy and Serra (2016): conv 32@12x8 (bands x frames), max-pool 4x1, dense 200, softmax.

    For patches [80, 40, 1]: convolution [73, 29, 32], pooling [73, 7, 32], dense [200], softmax [num_classes];
    3,275,312 parameters with 8 classes, 3,275,714 with 10.

    Args:
      num_classes: number of labels.
      input_shape: (patch_frames, mel_bands, 1).
      filters: number of filters.
      filter_bands: height of a filter.
      filter_frames: length of a filter.
      pool_bands: neighbouring bands of which the strongest stays.
      units: of the dense layer.
    """
    check_fits((filter_frames, filter_bands + pool_bands - 1), input_shape)
    return keras.Sequential(
        [
            keras.Input(input_shape, name="log_mel"),
            keras.layers.Conv2D(filters, (filter_frames, filter_bands), activation="relu", name="convolution"),
            keras.layers.MaxPooling2D((1, pool_bands), name="pooling"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dropout(0.5, name="dropout"),
            keras.layers.Dense(units, activation="relu", name="dense"),
            keras.layers.Dropout(0.5, name="dense_dropout"),
            # Probabilities stay float32 under mixed precision.
            keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="genre"),
        ],
        name="black_box",
    )
