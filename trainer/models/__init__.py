"""The models, one file each, by the names that --model takes."""

import importlib
from typing import TYPE_CHECKING

from tfrecords.command_line import UserError

if TYPE_CHECKING:
    import keras

# Names of files, imported when one is created: a name is checked without importing Keras, which takes seconds.
MODELS = ("black_box", "time", "frequency", "time_frequency")


def check_name(name: str) -> None:
    """Raises UserError when there is no such model."""
    if name not in MODELS:
        raise UserError(f"--model must be one of {', '.join(MODELS)}, got {name!r}")


def create(name: str, *, num_classes: int, input_shape: tuple[int, int, int], **options: int) -> "keras.Model":
    """A model that is not yet trained nor compiled.

    Args:
      name: one of MODELS.
      num_classes: number of labels, at least 2.
      input_shape: (patch_frames, mel_bands, 1).
      **options: the model's own, such as filter sizes; see its file.

    Returns:
      Patches [batch, patch_frames, mel_bands, 1] float32, normalised -> probabilities [batch, num_classes].

    Raises:
      UserError: no such model, or its filters are larger than the input.
    """
    check_name(name)
    if num_classes < 2:
        raise UserError(f"num_classes must be at least 2, got {num_classes}")
    build = importlib.import_module(f"trainer.models.{name}").build
    return build(num_classes=num_classes, input_shape=input_shape, **options)
