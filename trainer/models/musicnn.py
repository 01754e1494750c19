"""musicnn: the network of Pons and Serra that heard the Million Song Dataset, with a layer on top for other labels.

In goes a patch of 187 frames and 96 mel bands, 3 s, as --preset=musicnn makes it, not normalised: the network does that
itself. Its last layer but one has 200 units, from which it names 50 tags; here they go into a softmax over labels.

J. Pons and X. Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (ISMIR
late-breaking, 2019). The weights are those of the Python package musicnn 0.1.0 (ISC licence), which pins libraries too
old to be imported here: its files are found and read, and its code is left alone. MTT_musicnn, which lies beside them,
was trained on recordings of Magnatune, which data sets to measure it with hold too, and is not offered.
"""

import importlib.util
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrecords.common.command_line import UserError

INSTALL = "pip install --no-deps musicnn==0.1.0"
PREPROCESS = "preprocess with --preset=musicnn"
MEL_BANDS = 96
PATCH_FRAMES = 187
# Of the published model, in the order of its outputs.
TAGS = (
    *("rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock"),
    *("jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow"),
    *("electronica", "80s", "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient"),
    *("acoustic", "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening"),
    *("sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad"),
    *("House", "happy"),
)
# Those that name no genre but a voice, an instrument, a mood or a decade.
_OTHER_TAGS = (
    *("female vocalists", "00s", "beautiful", "male vocalists", "Mellow", "80s", "90s", "instrumental", "oldies"),
    *("acoustic", "female vocalist", "guitar", "70s", "party", "sexy", "catchy", "60s", "sad", "happy", "chill"),
)
GENRE_TAGS = tuple(tag for tag in TAGS if tag not in _OTHER_TAGS)
FEATURES_LAYER, STANDARDIZE_LAYER, HEAD_LAYER = "features", "standardize", "labels"
VARIANCE_FLOOR = 1e-6

# Frames and bands of the first filters' kernels, by the layers' names here, and how many filters each layer has.
_FRONT = {"timbre_38": (7, 38), "timbre_67": (7, 67), "time_128": (128, 1), "time_64": (64, 1), "time_32": (32, 1)}
_FILTERS = (204, 204, 51, 51, 51)
# Places, in frames and bands, that a layer computes at once, as more filters at larger strides: with one channel in and
# few filters, convolutions are slow otherwise (time_128: 27 times on a CPU). Bands divide the places there are.
_BLOCKS = {"timbre_38": (2, 1), "timbre_67": (1, 5), "time_128": (64, 1), "time_64": (64, 1), "time_32": (32, 1)}
_MIDDLE = ("middle_1", "middle_2", "middle_3")
_MIDDLE_FILTERS = 64
_WIDTH = sum(_FILTERS)
_NORM_PARTS = ("gamma", "beta", "moving_mean", "moving_variance")
_EPSILON = 1e-3
# Mean of 10,000 times the mel power of a patch, to which others are brought, by a gain of at most 30 dB.
_LOUDNESS = 2900.0
_MAX_GAIN = 1000.0
# By which units are multiplied before a tanh: whether they are on tells more than how much (their mean, if so, is 1.5).
_SATURATION = 6.5
# Filters whose outputs vary by less than this, for each unit of input, are constants: weight decay has ended them.
_CONSTANT_BELOW = 1e-6

Weights = Mapping[str, Sequence[np.ndarray]]


def build(*, num_classes: int, input_shape: tuple[int, int, int]) -> keras.Model:
    """Filters over time and bands, three layers over time, their maxima and means, 200 units; on these a softmax.

    Of the published 561 first filters 64 are left, as the others' kernels are zero (see `_live`), which makes it some
    fifty times as fast; what it gives is the same. 201 parameters for each label are added. Any number of frames fits,
    but the network was trained on 187. Filters and moving statistics are not trained further. Before the network all
    patches are brought to one loudness, since it hears a gain, by which genres do not differ; after it the units are
    saturated. In five folds of 244 tracks by artists, each is worth one to two points of accuracy.


    Args:
      num_classes: number of labels.
      input_shape: (patch_frames, 96, 1).

    Raises:
      UserError: there are not 96 mel bands, or the package with the weights is not installed.
    """
    if input_shape[1] != MEL_BANDS:
        raise UserError(f"the model musicnn needs {MEL_BANDS} mel bands, got {input_shape[1]}; {PREPROCESS}")
    weights = _live(read_weights())
    log_mel = keras.Input(input_shape, name="log_mel")
    units = keras.layers.Rescaling(_SATURATION)(_network(_at_one_loudness(log_mel), weights))
    features = keras.layers.Activation("tanh", name=FEATURES_LAYER)(units)
    standard = keras.layers.BatchNormalization(
        center=False, scale=False, epsilon=VARIANCE_FLOOR, name=STANDARDIZE_LAYER
    )
    labels = keras.layers.Dense(num_classes, activation="softmax", name=HEAD_LAYER)(standard(features))
    return _loaded(keras.Model(log_mel, labels, name="musicnn"), weights)


def tagger(*, patch_frames: int = PATCH_FRAMES) -> keras.Model:
    """Return the published network: log-mel patches [batch, patch_frames, 96, 1] -> tags [batch, 50], from 0 to 1.

    Raises:
      UserError: the package with the weights is not installed.
    """
    weights = _live(read_weights())
    log_mel = keras.Input((patch_frames, MEL_BANDS, 1), name="log_mel")
    units = keras.layers.BatchNormalization(epsilon=_EPSILON, name="units_norm")(_network(log_mel, weights))
    tags = keras.layers.Dense(len(TAGS), activation="sigmoid", name="tags")(units)
    return _loaded(keras.Model(log_mel, tags, name="musicnn"), weights)


def feature_model(model: keras.Model) -> keras.Model:
    """Return what a model of `build` computes before it standardises: patches -> [batch, 200], each from 0 to 1."""
    return keras.Model(model.inputs, model.get_layer(FEATURES_LAYER).output, name=model.name)


def _at_one_loudness(log_mel: Any) -> Any:
    """Return patches as they would be with a gain that gives all the same mean power."""
    power = keras.ops.expm1(log_mel * math.log(10))
    mean = keras.ops.mean(power, axis=(1, 2, 3), keepdims=True)
    gain = _LOUDNESS / keras.ops.maximum(mean, _LOUDNESS / _MAX_GAIN)
    return keras.ops.log1p(power * gain) * (1 / math.log(10))


def _network(log_mel: Any, weights: Weights) -> Any:
    """Return the network's 200 units, [batch, 200], at least 0, of patches [batch, frames, 96, 1]."""
    layers, patch_frames = keras.layers, log_mel.shape[1]

    def convolve(x: Any, name: str, **options: Any) -> Any:
        kernel = weights[name][0]
        kind = layers.Conv2D if kernel.ndim == 4 else layers.Conv1D
        x = kind(kernel.shape[-1], kernel.shape[:-2], activation="relu", name=name, **options)(x)
        return layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_norm")(x)

    def front(x: Any, name: str) -> Any:
        """[batch, frames, bands, 1] -> [batch, frames, filters], the maximum over bands."""
        block_frames, block_bands = _BLOCKS[name]
        blocks = -(-patch_frames // block_frames)
        # So many zeros that there is a place for every frame, and every place of the last block.
        before = (_FRONT[name][0] - 1) // 2
        after = blocks * block_frames - patch_frames + _FRONT[name][0] // 2
        x = convolve(layers.ZeroPadding2D(((before, after), 0))(x), name, strides=_BLOCKS[name])
        x = layers.MaxPooling2D((1, x.shape[2]))(x)
        x = layers.Reshape((blocks * block_frames, block_bands, -1))(x)
        x = layers.MaxPooling2D((1, block_bands))(x)
        x = layers.Reshape((blocks * block_frames, x.shape[3]))(x)
        return layers.Cropping1D((0, blocks * block_frames - patch_frames))(x)

    normalised = layers.BatchNormalization(epsilon=_EPSILON, name="log_mel_norm")(log_mel)
    first = layers.Concatenate(name="front")([front(normalised, name) for name in _FRONT])
    middle = [convolve(first, _MIDDLE[0], padding="same")]
    for name in _MIDDLE[1:]:
        middle.append(layers.Add()([convolve(middle[-1], name, padding="same"), middle[-1]]))
    frames = layers.Concatenate()([first, *middle])
    pooled = [layers.GlobalMaxPooling1D()(frames), layers.GlobalAveragePooling1D()(frames)]
    x = layers.BatchNormalization(epsilon=_EPSILON, name="pooled_norm")(layers.Concatenate(name="pooled")(pooled))
    return layers.Dense(200, activation="relu", name="units")(layers.Dropout(0.5)(x))


def _loaded(model: keras.Model, weights: Weights) -> keras.Model:
    """Give a model its published weights. Statistics, and filters that `_blocked` repeats, stay as they are."""
    for layer in model.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])
        if layer.name in _FRONT or isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return model


def read_weights() -> dict[str, np.ndarray]:
    """Read the variables of MSD_musicnn, by the names of its checkpoint, from the installed package.

    Raises:
      UserError: the package is not installed, or its file is another one.
    """
    spec = importlib.util.find_spec("musicnn")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the model musicnn needs the weights of the package musicnn; install it: {INSTALL}")
    folder = Path(spec.submodule_search_locations[0]).resolve() / "MSD_musicnn"
    with tempfile.TemporaryDirectory() as links:
        # The checkpoint's name is empty, which TensorFlow's reader takes for that of the folder.
        for ending in (".index", ".data-00000-of-00001"):
            (Path(links) / f"named{ending}").symlink_to(folder / ending)
        try:
            import tensorflow as tf

            checkpoint = tf.train.load_checkpoint(f"{links}/named")
            variables = {name: checkpoint.get_tensor(name) for name in _variable_shapes()}
        except (tf.errors.OpError, ValueError, LookupError, RuntimeError) as error:
            reason = (str(error).splitlines() or ["it is damaged"])[0]
            raise UserError(f"{folder}: not the weights of musicnn 0.1.0 ({reason}); install it: {INSTALL}") from None
    for name, shape in _variable_shapes().items():
        if variables[name].shape != shape:
            raise UserError(f"{folder}: {name} must be {shape}, got {variables[name].shape}; install it: {INSTALL}")
    return variables


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def _variable_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of all variables of the published network; its checkpoint also holds those of its optimizer."""
    kernels = [(*size, 1, filters) for size, filters in zip(_FRONT.values(), _FILTERS, strict=True)]
    kernels += [(7, width, 1, _MIDDLE_FILTERS) for width in (_WIDTH, _MIDDLE_FILTERS, _MIDDLE_FILTERS)]
    pooled = 2 * (_WIDTH + len(_MIDDLE) * _MIDDLE_FILTERS)
    shapes: dict[str, tuple[int, ...]] = {}
    for number, kernel in enumerate(kernels):
        shapes |= {f"{_numbered('conv2d', number)}/kernel": kernel, f"{_numbered('conv2d', number)}/bias": kernel[-1:]}
    for number, size in enumerate((1, *(kernel[-1] for kernel in kernels), pooled, 200)):
        for part in _NORM_PARTS:
            shapes[f"{_numbered('batch_normalization', number)}/{part}"] = (size,)
    for number, dense in enumerate(((pooled, 200), (200, len(TAGS)))):
        shapes |= {f"{_numbered('dense', number)}/kernel": dense, f"{_numbered('dense', number)}/bias": dense[-1:]}
    return shapes


def _live(variables: Mapping[str, np.ndarray]) -> Weights:
    """Return the weights of each layer here, without the first filters that do not depend on what they hear.

    Their outputs, constant wherever there are frames, reach the middle layers by one filter of kernel 0 and bias 1, the
    last of the first layers, so that these still see where a patch ends; and the units by their bias.
    """
    norms = [[variables[f"{_numbered('batch_normalization', n)}/{part}"] for part in _NORM_PARTS] for n in range(11)]
    layers: dict[str, list[np.ndarray]] = {"log_mel_norm": norms[0]}
    live, constants = [], []
    for number, name in enumerate(_FRONT):
        kernel, bias = (variables[f"{_numbered('conv2d', number)}/{part}"] for part in ("kernel", "bias"))
        scale, shift = _affine(norms[number + 1])
        alive = np.abs(kernel * scale).sum(axis=(0, 1, 2)) >= _CONSTANT_BELOW
        layers[name] = [kernel[..., alive], bias[alive]]
        layers[f"{name}_norm"] = [part[alive] for part in norms[number + 1]]
        live.append(alive)
        constants.append(scale * np.maximum(bias, 0) + shift)
    _add_ones(layers, name)
    for name, places_at_once in _BLOCKS.items():
        kernel, bias = layers[name]
        places = places_at_once[0] * places_at_once[1]
        layers[name] = [_blocked(kernel, places_at_once), np.tile(bias, places)]
        layers[f"{name}_norm"] = [np.tile(part, places) for part in layers[f"{name}_norm"]]
    alive, constant = np.concatenate(live), np.where(np.concatenate(live), 0, np.concatenate(constants))
    for number, name in enumerate(_MIDDLE, len(_FRONT)):
        kernel, bias = (variables[f"{_numbered('conv2d', number)}/{part}"] for part in ("kernel", "bias"))
        layers[name] = [kernel[:, :, 0], bias]
        layers[f"{name}_norm"] = norms[number + 1]
    kernel = layers[_MIDDLE[0]][0]
    ones = np.einsum("tcf,c->tf", kernel, constant)[:, np.newaxis]
    layers[_MIDDLE[0]][0] = np.concatenate([kernel[:, alive], ones], axis=1)
    layers |= _pooled(variables, norms[9], alive, constant)
    layers["units_norm"] = norms[10]
    layers["tags"] = [variables["dense_1/kernel"], variables["dense_1/bias"]]
    return layers


def _affine(norm: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and shift of a normalisation by its moving statistics."""
    gamma, beta, mean, variance = norm
    scale = gamma / np.sqrt(variance + _EPSILON)
    return scale, beta - mean * scale


def _blocked(kernel: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Return filters [frames, bands, 1, filters] as one for each place of a block, the filters last among those."""
    frames, bands, _, filters = kernel.shape
    wide = np.zeros((frames + block[0] - 1, bands + block[1] - 1, 1, *block, filters), kernel.dtype)
    for frame, band in np.ndindex(block):
        wide[frame : frame + frames, band : band + bands, :, frame, band] = kernel
    return wide.reshape(*wide.shape[:3], -1)


def _add_ones(layers: dict[str, list[np.ndarray]], name: str) -> None:
    """Give a convolution one filter more, whose normalised output is 1."""
    kernel, bias = layers[name]
    layers[name] = [np.concatenate([kernel, np.zeros_like(kernel[..., :1])], axis=-1), np.append(bias, 1)]
    # Gamma, beta, mean and variance that change nothing.
    parts = zip(layers[f"{name}_norm"], (1, 0, 0, 1 - _EPSILON), strict=True)
    layers[f"{name}_norm"] = [np.append(part, neutral) for part, neutral in parts]


def _pooled(
    variables: Mapping[str, np.ndarray], norm: Sequence[np.ndarray], alive: np.ndarray, constant: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """Return the weights after pooling: maxima, then means, where the published ones alternate."""
    kernel, bias = variables["dense/kernel"].reshape(-1, 2, 200), variables["dense/bias"]
    scale, shift = (values.reshape(-1, 2, 1) for values in _affine(norm))
    dead = ~alive
    count = len(alive)
    always = (scale[:count][dead] * constant[dead][:, np.newaxis, np.newaxis] + shift[:count][dead]) * kernel[:count][
        dead
    ]

    def ordered(values: np.ndarray, of_ones: float) -> np.ndarray:
        """[753, 2, ...] -> [2 * (live + 1 + 192), ...]."""
        ones = np.full((1, *values.shape[1:]), of_ones, values.dtype)
        kept = np.concatenate([values[:count][alive], ones, values[count:]])
        return np.moveaxis(kept, 1, 0).reshape(-1, *values.shape[2:])

    return {
        "pooled_norm": [
            ordered(part.reshape(-1, 2), neutral) for part, neutral in zip(norm, (1, 0, 0, 1 - _EPSILON), strict=True)
        ],
        "units": [ordered(kernel, 0), bias + always.sum(axis=(0, 1))],
    }
