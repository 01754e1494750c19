"""The models, one file each, by the names that --model takes.

A model's file has `build(*, num_classes, input_shape, ...)`, whose further arguments are its options, and which returns
a Keras model that ends in a softmax; its name is listed in FROM_SCRATCH.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tfrecords.common.command_line import UserError

if TYPE_CHECKING:
    import keras

# Names of files, imported when one is created: a name is checked without importing Keras, which takes seconds.
FROM_SCRATCH = ("black_box", "time", "frequency", "time_frequency", "time_frequency_init", "cnn")
# The network with published weights, which normalises its input itself.
PRETRAINED = "musicnn"
MODELS = (*FROM_SCRATCH, PRETRAINED)

# The model whose filters come from trained models of others.
WITH_PARENTS = "time_frequency_init"


def check_name(name: str) -> None:
    """Raises UserError when there is no such model."""
    if name not in MODELS:
        raise UserError(f"`model` must be one of {', '.join(MODELS)}, got {name!r}")


def check_saved(names: Iterable[object], path: Path) -> None:
    """Raise UserError if a file names a model that this version no longer has."""
    for name in names:
        if isinstance(name, str) and name not in MODELS:
            raise UserError(f"{path}: there is no model {name!r} in this version; train one of {', '.join(MODELS)}")


def parse_options(settings: str) -> dict[str, int]:
    """Reads "name=value,name=value", as a command line gives it; "" holds none.

    Whether a model has such options, and takes these values, is seen when it is created.

    Raises:
      UserError: a name is there twice, or a value is no whole number.
    """
    options: dict[str, int] = {}
    for setting in filter(None, settings.split(",")):
        name, _, text = (word.strip() for word in setting.partition("="))
        if name in options:
            raise UserError(f"`{name}` is given twice")
        try:
            options[name] = int(text)
        except ValueError:
            raise UserError(f"`{name}` must be a whole number, got {text!r}; write {name}=32") from None
    return options


def create(name: str, *, num_classes: int, input_shape: tuple[int, int, int], **options: int) -> "keras.Model":
    """A model that is not yet trained nor compiled.

    Args:
      name: one of MODELS.
      num_classes: number of labels, at least 2.
      input_shape: (patch_frames, mel_bands, 1).
      **options: the model's own, such as filter sizes, at least 1; see its file.

    Returns:
      Patches [batch, patch_frames, mel_bands, 1] float32, normalised -> probabilities [batch, num_classes].

    Raises:
      UserError: no such model, it has no such option or not with this value, or its filters are larger than the input.
    """
    check_name(name)
    if num_classes < 2:
        raise UserError(f"`num_classes` must be at least 2, got {num_classes}")
    build = importlib.import_module(f"trainer.models.{name}").build
    _check_options(name, build, options)
    return build(num_classes=num_classes, input_shape=input_shape, **options)


def check_fits(window: tuple[int, int], input_shape: tuple[int, int, int]) -> None:
    """Check that a model's filters, and the pooling after them, fit a patch.

    Args:
      window: (frames, bands) that the filter and its pooling need.
      input_shape: (patch_frames, mel_bands, 1).

    Raises:
      UserError: they do not.
    """
    remedies = (("frames", "`patch_frames` for training"), ("mel bands", "`n_mels` for preprocessing"))
    for size, limit, (axis, field) in zip(window, input_shape, remedies, strict=False):
        if size > limit:
            raise UserError(f"the model's filters need {size} {axis}, the patches have {limit}; take a larger {field}")


def _check_options(name: str, build: Callable, options: Mapping[str, int]) -> None:
    known = dict(inspect.signature(build).parameters)
    del known["num_classes"], known["input_shape"]
    for option, value in options.items():
        if option not in known:
            raise UserError(f"the model {name} has no option {option!r}; its `model_options` are {', '.join(known)}")
        if value < 1:
            raise UserError(f"`model_options`: {option} must be at least 1, got {value}")
