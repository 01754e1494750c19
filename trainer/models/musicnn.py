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

# Frames and bands of the first filters' kernels, two layers over both and three over time, and their filters.
_KERNELS = ((7, 38), (7, 67), (128, 1), (64, 1), (32, 1))
_FILTERS = (204, 204, 51, 51, 51)
# Their names here.
_TIMBRE, _TIME = ("timbre_38", "timbre_67"), ("time_128", "time_64", "time_32")
# Neighbouring places, in bands and in frames, that a layer computes at once, as so many times its filters: with one
# channel in and few filters, convolutions are slow otherwise.
_BANDS_AT_ONCE, _FRAMES_AT_ONCE = 10, 32
_MIDDLE = ("middle_1", "middle_2", "middle_3")
_MIDDLE_FILTERS, _MIDDLE_FRAMES = 64, 7
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


def tagger(*, patch_frames: int = PATCH_FRAMES, at_one_loudness: bool = False) -> keras.Model:
    """Return the published network: log-mel patches [batch, patch_frames, 96, 1] -> tags [batch, 50], from 0 to 1.

    Args:
      patch_frames: frames in a patch.
      at_one_loudness: bring all patches to one loudness first, so that what it gives does not depend on the gain.

    Raises:
      UserError: the package with the weights is not installed.
    """
    weights = _live(read_weights())
    log_mel = keras.Input((patch_frames, MEL_BANDS, 1), name="log_mel")
    heard = _at_one_loudness(log_mel) if at_one_loudness else log_mel
    units = keras.layers.BatchNormalization(epsilon=_EPSILON, name="units_norm")(_network(heard, weights))
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

    def convolve(x: Any, name: str) -> Any:
        x = layers.Conv1D(_MIDDLE_FILTERS, _MIDDLE_FRAMES, padding="same", activation="relu", name=name)(x)
        return layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_norm")(x)

    normalised = layers.BatchNormalization(epsilon=_EPSILON, name="log_mel_norm")(log_mel)
    x = layers.Reshape((patch_frames, MEL_BANDS))(normalised)
    highest = [_highest_over_bands(x, name, kernel=weights[name][0].shape) for name in _TIMBRE]
    highest += [_highest_over_time(x, name, kernel=weights[name][0].shape) for name in _TIME]
    # Bias, ReLU and normalisation of a filter come after its maximum over bands, with which they commute.
    x = layers.BatchNormalization(epsilon=_EPSILON, name="front_bias")(layers.Concatenate(name="front")(highest))
    first = layers.BatchNormalization(epsilon=_EPSILON, name="front_norm")(layers.Activation("relu")(x))
    middle = [convolve(first, _MIDDLE[0])]
    for name in _MIDDLE[1:]:
        middle.append(layers.Add()([convolve(middle[-1], name), middle[-1]]))
    frames = layers.Concatenate()([first, *middle])
    pooled = [layers.GlobalMaxPooling1D()(frames), layers.GlobalAveragePooling1D()(frames)]
    x = layers.BatchNormalization(epsilon=_EPSILON, name="pooled_norm")(layers.Concatenate(name="pooled")(pooled))
    return layers.Dense(200, activation="relu", name="units")(layers.Dropout(0.5)(x))


def _highest_over_bands(x: Any, name: str, *, kernel: tuple[int, ...]) -> Any:
    """Return each filter's maximum over the bands it can lie at, [batch, frames, filters], of [batch, frames, bands].

    The bands of a few neighbouring places are the channels of a convolution over time, whose kernel holds each filter
    at each place; one such convolution is applied to groups of places, which may overlap.
    """
    layers = keras.layers
    frames, bands, outputs = kernel
    convolution = layers.Conv1D(outputs, frames, use_bias=False, name=name)
    padded = layers.ZeroPadding1D((frames - 1) // 2)(x)
    last = MEL_BANDS - bands
    groups = []
    for first in [*range(0, last, _BANDS_AT_ONCE), last]:
        cut = layers.Cropping2D((0, (first, last - first)))(layers.Reshape((*padded.shape[1:], 1))(padded))
        groups.append(convolution(layers.Reshape((padded.shape[1], bands))(cut)))
    x = layers.Reshape((x.shape[1], _BANDS_AT_ONCE, -1))(layers.Maximum()(groups))
    return layers.Reshape((x.shape[1], x.shape[3]))(layers.MaxPooling2D((1, _BANDS_AT_ONCE))(x))


def _highest_over_time(x: Any, name: str, *, kernel: tuple[int, ...]) -> Any:
    """Return the maximum over bands of each filter over time, [batch, frames, filters], of [batch, frames, bands].

    As in `_highest_over_bands`, for a few neighbouring frames at once; each band is a row of a matrix product.
    """
    layers = keras.layers
    frames, (window, outputs) = x.shape[1], kernel
    groups = -(-frames // _FRAMES_AT_ONCE)
    length = window - _FRAMES_AT_ONCE + 1
    # So many zeros that there is a window for every frame, and for what is left of the last group.
    padded = layers.ZeroPadding1D(((length - 1) // 2, groups * _FRAMES_AT_ONCE - frames + length // 2))(x)
    product = layers.Dense(outputs, use_bias=False, name=name)
    found = []
    for first in range(0, groups * _FRAMES_AT_ONCE, _FRAMES_AT_ONCE):
        cut = layers.Cropping1D((first, padded.shape[1] - first - window))(padded)
        highest = layers.GlobalMaxPooling1D()(product(layers.Permute((2, 1))(cut)))
        found.append(layers.Reshape((_FRAMES_AT_ONCE, -1))(highest))
    together = layers.Concatenate(axis=1)(found) if groups > 1 else found[0]
    return layers.Cropping1D((0, groups * _FRAMES_AT_ONCE - frames))(together)


def _loaded(model: keras.Model, weights: Weights) -> keras.Model:
    """Give a model its published weights. Statistics, and filters that are repeated, stay as they are."""
    for layer in model.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])
        if layer.name in (*_TIMBRE, *_TIME) or isinstance(layer, keras.layers.BatchNormalization):
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
    kernels = [(*size, 1, filters) for size, filters in zip(_KERNELS, _FILTERS, strict=True)]
    kernels += [(_MIDDLE_FRAMES, width, 1, _MIDDLE_FILTERS) for width in (_WIDTH, _MIDDLE_FILTERS, _MIDDLE_FILTERS)]
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
    kernels: list[np.ndarray] = []
    for number in range(len(_KERNELS)):
        kernel, bias = (variables[f"{_numbered('conv2d', number)}/{part}"] for part in ("kernel", "bias"))
        scale, shift = _affine(norms[number + 1])
        alive = np.abs(kernel * scale).sum(axis=(0, 1, 2)) >= _CONSTANT_BELOW
        # Of a filter whose normalisation turns its sign, the lowest output is the highest in the end.
        kernels.append((kernel * np.sign(scale))[:, :, 0, alive])
        live.append(alive)
        constants.append(scale * np.maximum(bias, 0) + shift)
    layers |= _front(variables, norms, np.concatenate(live))
    # The filter of ones.
    kernels[-1] = np.pad(kernels[-1], ((0, 0), (0, 0), (0, 1)))
    for name, kernel in zip((*_TIMBRE, *_TIME), kernels, strict=True):
        over_bands = name in _TIMBRE
        places, kernel = (_BANDS_AT_ONCE, kernel) if over_bands else (_FRAMES_AT_ONCE, kernel[:, 0])
        layers[name] = [_at_once(kernel, places, axis=int(over_bands))]
    alive, constant = np.concatenate(live), np.where(np.concatenate(live), 0, np.concatenate(constants))
    for number, name in enumerate(_MIDDLE, len(_KERNELS)):
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


def _front(
    variables: Mapping[str, np.ndarray], norms: Sequence[Sequence[np.ndarray]], alive: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """Return what follows the first filters' maxima: sign and bias, then the normalisation; last of the filter of ones.

    Args:
      variables: published ones.
      norms: gamma, beta, mean and variance of all normalisations.
      alive: [561] bool, which filters are left.
    """
    biases = np.concatenate([variables[f"{_numbered('conv2d', number)}/bias"] for number in range(len(_KERNELS))])
    parts = [np.concatenate(part)[alive] for part in zip(*norms[1 : len(_KERNELS) + 1], strict=True)]
    signs, bias = np.append(np.sign(parts[0]), 1), np.append(biases[alive], 1)
    # Mean and variance that change nothing; of the ones, gamma and beta, too.
    neutral = [np.zeros_like(bias), np.full_like(bias, 1 - _EPSILON)]
    norm = [np.append(part, value) for part, value in zip(parts, (1, 0, 0, 1 - _EPSILON), strict=True)]
    return {"front_bias": [signs, bias, *neutral], "front_norm": norm}


def _at_once(kernel: np.ndarray, places: int, *, axis: int) -> np.ndarray:
    """Return filters [..., filters] at each of so many neighbouring places, [..., places * filters], filters last.

    Example:
      >>> _at_once(np.array([[1], [2]]), 2, axis=0).tolist()
      [[1, 0], [2, 1], [0, 2]]
    """
    shape = list(kernel.shape)
    shape[axis] += places - 1
    wide = np.zeros((places, *shape), kernel.dtype)
    for place in range(places):
        window = [slice(None)] * kernel.ndim
        window[axis] = slice(place, place + kernel.shape[axis])
        wide[place][tuple(window)] = kernel
    return np.moveaxis(wide, 0, -2).reshape(*shape[:-1], -1)


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
