"""A trained model with its front end as one ONNX file: audio in, probabilities out, without TensorFlow or this project.

The file's inputs are waveform [n, samples] float32, mono, and sample_rate [] int64; its output is probabilities
[n, labels] float32. A graph of ONNX can raise no error, so probabilities are NaN where there is no answer: at another
rate than the model's, of a waveform that is shorter than a patch, not finite or absurdly large. The Fourier transform
is a product with a matrix, which every runtime has. Frames and patches of a whole waveform are computed at once: half
an hour takes some gigabytes.
"""

import json
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from beam_preprocess import audio
from beam_preprocess.audio.front_end import FrontEnd
from tfrecords.common.command_line import UserError
from trainer.config import RESIZE
from trainer.serving.served_model import AMIN, patch_starts, resized_pieces

if TYPE_CHECKING:
    from trainer.serving.recognizer import Recognizer

WAVEFORM, SAMPLE_RATE, PROBABILITIES = "waveform", "sample_rate", "probabilities"
# What every runtime of the last years reads.
_OPSET = 17


class MatrixFrontEnd:
    """Waveforms -> log-mel, as trainer.serving.served_model.GraphFrontEnd, by operations that ONNX has."""

    def __init__(self, front_end: FrontEnd) -> None:
        config = front_end.config
        self._length, self._hop = config.frame_length, config.hop_length
        self._decibels = config.compression == "db"
        # Arrays, which become constants of the graph; tensors would become inputs of the file.
        dtype = np.float64 if self._decibels else np.float32
        time, frequency = np.arange(self._length), np.arange(self._length // 2 + 1)
        # Whole turns taken off first: cosines of large angles are less exact.
        angles = 2 * np.pi / self._length * (np.outer(time, frequency) % self._length)
        parts = [front_end.window[:, np.newaxis] * wave for wave in (np.cos(angles), np.sin(angles))]
        self._real, self._imaginary = (part.astype(dtype) for part in parts)
        self._filters = front_end.filters.astype(dtype)

    def __call__(self, waveforms: tf.Tensor) -> tf.Tensor:
        """[n, samples] float32 -> [n, 1 + samples // hop_length, n_mels] float32, with centred frames."""
        before = self._length // 2
        padded = tf.pad(tf.cast(waveforms, self._real.dtype), [[0, 0], [before, self._length - before]])
        starts = tf.range(1 + tf.shape(waveforms)[1] // self._hop) * self._hop
        frames = tf.gather(padded, starts[:, tf.newaxis] + tf.range(self._length), axis=1)
        mel = (tf.square(frames @ self._real) + tf.square(frames @ self._imaginary)) @ self._filters
        if self._decibels:
            return tf.cast(10 / math.log(10) * tf.math.log(tf.maximum(mel, AMIN)), tf.float32)
        return tf.math.log(1 + mel * 1e4) * (1 / math.log(10))


class WaveformModel:
    """A recognizer as one function of waveforms and their rate."""

    def __init__(self, recognizer: "Recognizer") -> None:
        job, config = recognizer.job, recognizer.front_end.config
        self._sample_rate, self._mel_bands, self._patch_frames = config.sample_rate, config.n_mels, job.patch_frames
        self._resizes = job.patch_mode == RESIZE
        self.min_samples = max(1, recognizer.front_end.min_samples(job.min_frames))
        self._front_end = MatrixFrontEnd(recognizer.front_end)
        self._mean = job.statistics.mean[:, np.newaxis].astype(np.float32)
        self._scale = 1 / job.statistics.scale[:, np.newaxis].astype(np.float32)
        self._model = _computing_in_float32(recognizer.model)

    def __call__(self, waveforms: tf.Tensor, sample_rate: tf.Tensor) -> tf.Tensor:
        """[n, samples] float32, [] int64 -> [n, labels] float32, the mean over patches; NaN where there is none."""
        samples = tf.shape(waveforms)[1]
        energy = tf.reduce_sum(tf.square(waveforms), axis=1)
        # False for NaN, too.
        usable = (energy <= audio.MAX_ENERGY) & (samples >= self.min_samples) & (sample_rate == self._sample_rate)
        # What is too short has no answer either way, but runtimes differ in what they make of no patch at all.
        filled = tf.pad(waveforms, [[0, 0], [0, tf.maximum(0, self.min_samples - samples)]])
        return tf.where(usable[:, tf.newaxis], self._mean_probabilities(self._front_end(filled)), math.nan)

    def _mean_probabilities(self, log_mel: tf.Tensor) -> tf.Tensor:
        if self._resizes:
            patches = resized_pieces(log_mel, self._patch_frames)
        else:
            starts = patch_starts(tf.shape(log_mel)[1], self._patch_frames)
            patches = tf.gather(log_mel, starts[:, tf.newaxis] + tf.range(self._patch_frames), axis=1)
        flat = tf.reshape(patches, [-1, self._patch_frames, self._mel_bands, 1])
        probabilities = self._model((flat - self._mean) * self._scale, training=False)
        labels = probabilities.shape[1]
        return tf.reduce_mean(tf.reshape(probabilities, [tf.shape(log_mel)[0], -1, labels]), axis=1)


def to_onnx(recognizer: "Recognizer", facts: Mapping[str, Any]) -> bytes:
    """Return a recognizer as the bytes of an ONNX file.

    Args:
      recognizer: whose model and front end go into it, in float32.
      facts: kept in the file's metadata beside sample_rate and min_samples: texts as they are, all else as JSON.

    Raises:
      UserError: the packages that it needs are not installed.
    """
    try:
        import onnx
        import tf2onnx
    except ModuleNotFoundError as error:
        raise UserError(
            f"--format=onnx needs the package {error.name}; install those of the extra onnx: pip install -e '.[onnx]'"
        ) from None
    model = WaveformModel(recognizer)
    signature = [tf.TensorSpec([None, None], tf.float32, WAVEFORM), tf.TensorSpec([], tf.int64, SAMPLE_RATE)]
    function = tf.function(lambda waveform, sample_rate: {PROBABILITIES: model(waveform, sample_rate)})
    handlers: dict[str, Any] = {"Expm1": (_convert_expm1, []), "Log1p": (_convert_log1p, [])}
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    made, _ = tf2onnx.convert.from_function(function, signature, opset=_OPSET, custom_op_handlers=handlers)
    facts = {**facts, "sample_rate": recognizer.front_end.config.sample_rate, "min_samples": model.min_samples}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    onnx.helper.set_model_props(made, texts)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def _computing_in_float32(model: keras.Model) -> keras.Model:
    """Return a model whose layers compute in float32, as runtimes on CPUs do."""
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model

    def remade(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    same = keras.models.clone_model(model, clone_function=remade)
    same.set_weights(model.get_weights())
    return same


def _convert_expm1(graph: Any, node: Any, name: str, args: Any) -> None:
    """Replace a node exp(x) - 1, which ONNX does not have, by two."""
    one = graph.make_const(f"{name}_one", np.float32(1)).output[0]
    power = graph.make_node("Exp", [node.input[0]], dtypes=[1]).output[0]
    _replace(graph, node, "Sub", [power, one])


def _convert_log1p(graph: Any, node: Any, name: str, args: Any) -> None:
    """Replace a node log(1 + x), which ONNX does not have, by two."""
    one = graph.make_const(f"{name}_one", np.float32(1)).output[0]
    more = graph.make_node("Add", [node.input[0], one], dtypes=[1]).output[0]
    _replace(graph, node, "Log", [more])


def _replace(graph: Any, node: Any, operation: str, inputs: list[str]) -> None:
    shapes, dtypes, outputs = node.output_shapes, node.output_dtypes, node.output
    graph.remove_node(node.name)
    graph.make_node(operation, inputs, outputs=outputs, name=node.name, shapes=shapes, dtypes=dtypes)
