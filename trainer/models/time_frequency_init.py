"""time_frequency_init: `time_frequency` whose filters have been trained apart, those of `time` and of `frequency`.

The paper trains both small models first, puts their filters side by side and trains on from there: each kind of filter
has then learnt rhythm or timbre by itself before they are judged together.
"""

import functools

import keras

from trainer.models import time_frequency


# The options are those of time_frequency, and are named in errors as such.
@functools.wraps(time_frequency.build, assigned=())
def build(*, num_classes: int, input_shape: tuple[int, int, int], **options: int) -> keras.Model:
    """Pons, Lidy and Serra (2016): the layers and sizes of time_frequency; 196,816 parameters with 8 classes,
    197,218 with 10.

    The filters are new ones, as are all weights; `trainer.training.init_filters.copy_filters` gives them the trained
    ones.

    Args:
      num_classes: number of labels.
      input_shape: (patch_frames, mel_bands, 1).
      **options: of time_frequency.
    """
    model = time_frequency.build(num_classes=num_classes, input_shape=input_shape, **options)
    return keras.Model(model.input, model.output, name="time_frequency_init")
