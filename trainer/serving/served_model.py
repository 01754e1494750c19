"""A trained model with its front end as TensorFlow functions: audio in, probabilities out, without this project."""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from beam_preprocess import audio
from beam_preprocess.audio.front_end import MAX_RECORD_FRAMES, FrontEnd
from tfrecords.schema import to_bytes
from trainer.config import RESIZE
from trainer.evaluation.confidence import Familiarity
from trainer.evaluation.predictions import with_units
from trainer.training_job import TrainingJob

# Frames transformed at a time, over all waveforms: 32 MiB of samples with frames of 1,024.
_BLOCK_FRAMES = 8192
# Patches per step of the model, as in trainer.serving.recognizer: memory does not grow with the recording.
_BATCH = 256
# The smallest power that decibels distinguish, as in beam_preprocess.audio.front_end.
AMIN = 1e-10


class GraphFrontEnd(tf.Module):
    """Waveforms -> log-mel, with the window and filters of a FrontEnd.

    log10 values differ from FrontEnd's by less than 1e-3 (measured: 1e-5). Decibels are computed in float64, which
    FrontEnd does for steep frames only: they differ by less than 1e-3 dB down to 80 dB below the clip's peak, and by
    less than 0.02 dB further down.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        config = front_end.config
        self._length, self._hop = config.frame_length, config.hop_length
        self._decibels = config.compression == "db"
        dtype = tf.float64 if self._decibels else tf.float32
        self._window = tf.constant(front_end.window, dtype)
        self._filters = tf.constant(front_end.filters, dtype)

    def __call__(self, waveforms: tf.Tensor) -> tf.Tensor:
        """[n, samples] float32 -> [n, 1 + samples // hop_length, n_mels] float32, with centred frames."""
        before = self._length // 2
        padded = tf.pad(waveforms, [[0, 0], [before, self._length - before]])
        frames = 1 + tf.shape(waveforms)[1] // self._hop
        block = tf.maximum(1, _BLOCK_FRAMES // tf.maximum(1, tf.shape(waveforms)[0]))
        blocks = -(-frames // block)

        def transform(index: tf.Tensor) -> tf.Tensor:
            first = index * block
            last = tf.minimum(first + block, frames) - 1
            log_mel = self._log_mel(padded[:, first * self._hop : last * self._hop + self._length])
            return tf.transpose(log_mel, [1, 0, 2])

        # Blocks are joined along their first axis, which is therefore time.
        return tf.transpose(_concat_steps(transform, blocks, [None, None, self._filters.shape[1]]), [1, 0, 2])

    def _log_mel(self, padded: tf.Tensor) -> tf.Tensor:
        frames = tf.signal.frame(tf.cast(padded, self._window.dtype), self._length, self._hop)
        # tf.signal.stft pads odd frame lengths differently.
        spectrum = tf.signal.rfft(frames * self._window)
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        mel = power @ self._filters
        if self._decibels:
            return tf.cast(10 / math.log(10) * tf.math.log(tf.maximum(mel, AMIN)), tf.float32)
        return tf.math.log1p(mel * 1e4) * (1 / math.log(10))


class ServedModel(tf.Module):
    """The exported model. Its public methods are the signatures.

    They return labels [labels] string beside the probabilities; of waveforms also the distance, where that is measured
    (see Familiarity). Patches are cut as in trainer.serving.recognizer and normalised as in training. A waveform that
    is shorter than a patch or not finite raises tf.errors.InvalidArgumentError. For a job that resizes clips, one
    sample is enough.
    """

    def __init__(
        self, job: TrainingJob, model: keras.Model, front_end: FrontEnd, familiarity: Familiarity | None = None
    ) -> None:
        super().__init__()
        self._axes: tf.Tensor | None = None
        self._centers: tuple[tf.Tensor, ...] = ()
        if familiarity is not None:
            self._axes = tf.constant(familiarity.axes)
            self._centers = tuple(tf.constant(center) for center in familiarity.centers)
            self._within = familiarity.within
        self._sample_rate = front_end.config.sample_rate
        self._patch_frames, self._mel_bands = job.patch_frames, front_end.config.n_mels
        self._resizes = job.patch_mode == RESIZE
        self._min_samples = max(1, front_end.min_samples(job.min_frames))
        self._front_end = GraphFrontEnd(front_end)
        self._mean = tf.constant(job.statistics.mean[:, None], tf.float32)
        self._scale = 1 / tf.constant(job.statistics.scale[:, None], tf.float32)
        # As bytes: labels are folder names, which need not be Unicode, and TensorFlow takes no other text.
        self._labels = tf.constant([to_bytes(label) for label in job.labels])
        self._model = model if familiarity is None else with_units(model)
        # As an attribute, so that they are saved with the functions that use them.
        self._weights = [variable.value for variable in model.variables]

    def signatures(self) -> dict[str, Any]:
        """Return name -> function, for tf.saved_model.save."""
        waveform = tf.TensorSpec([None], tf.float32, "waveform")
        waveforms = tf.TensorSpec([None, None], tf.float32, "waveforms")
        patches = tf.TensorSpec([None, self._patch_frames, self._mel_bands, 1], tf.float32, "patches")
        measured = {} if self._axes is None else {"units": tf.function(self.units, [patches])}
        return measured | {
            "serving_default": tf.function(self.waveform, [waveform]),
            "batch": tf.function(self.waveforms, [waveforms]),
            "patches": tf.function(self.patches, [patches]),
            "wav_bytes": tf.function(self.wav_bytes, [tf.TensorSpec([], tf.string, "wav_bytes")]),
            "log_mel": tf.function(self.log_mel, [waveform]),
        }

    def waveform(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """[samples] float32, mono, at the model's rate -> probabilities [labels], the mean over its patches."""
        return {name: values[0] for name, values in self._means(waveform[tf.newaxis]).items()} | self._names()

    def waveforms(self, waveforms: tf.Tensor) -> dict[str, tf.Tensor]:
        """[n, samples] float32 -> probabilities [n, labels]."""
        return self._means(waveforms) | self._names()

    def patches(self, patches: tf.Tensor) -> dict[str, tf.Tensor]:
        """[n, patch_frames, mel_bands, 1] float32, log-mel, not normalised -> probabilities [n, labels].

        A job that resizes clips takes each already resized to patch_frames (half-pixel bilinear, as tf.image.resize).
        """
        outputs = self._checked_outputs(patches)
        return {name: outputs[name] for name in ("probabilities", "labels")}

    def _checked_outputs(self, patches: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = [self._patch_frames, self._mel_bands, 1]
        problem = tf.strings.format(f"patches must be [n, {shape[0]}, {shape[1]}, 1], got {{}}", tf.shape(patches))
        fits = tf.debugging.Assert(tf.reduce_all(tf.shape(patches)[1:] == shape), [problem])
        finite = tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(patches)), ["patches hold NaN or infinite values"])
        with tf.control_dependencies([fits, finite]):
            return self._outputs(tf.identity(patches)) | self._names()

    def units(self, patches: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `patches`, with units [n, units], of which distances are measured."""
        return self._checked_outputs(patches)

    def log_mel(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """[samples] float32 -> log_mel [frames, mel_bands] float32, to cut or resize for `patches`."""
        return {"log_mel": self._front_end(_checked(waveform[tf.newaxis], 0))[0]}

    def wav_bytes(self, wav_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """[] string, a 16-bit WAV file at the model's rate -> probabilities [labels].

        Several channels are averaged. Other rates raise an error: the graph does not resample.
        """
        samples, rate = tf.audio.decode_wav(wav_bytes)
        wanted = self._sample_rate
        problem = tf.strings.format(f"the WAV file must be at {wanted} Hz, got {{}} Hz; resample it first", rate)
        with tf.control_dependencies([tf.debugging.Assert(rate == wanted, [problem])]):
            return self.waveform(tf.reduce_mean(samples, axis=1))

    def _names(self) -> dict[str, tf.Tensor]:
        return {"labels": tf.identity(self._labels)}

    def _means(self, waveforms: tf.Tensor) -> dict[str, tf.Tensor]:
        """[n, samples] -> probabilities [n, labels] and distance [n], if that is measured."""
        log_mel = self._front_end(_checked(waveforms, self._min_samples))
        patches = resized_pieces(log_mel, self._patch_frames) if self._resizes else self._windows(log_mel)
        flat = tf.reshape(patches, [-1, self._patch_frames, self._mel_bands, 1])
        shape = [tf.shape(waveforms)[0], tf.shape(patches)[1]]
        means = {
            name: tf.reduce_mean(tf.reshape(values, [*shape, values.shape[1]]), axis=1)
            for name, values in self._outputs(flat).items()
        }
        if "units" in means:
            means["distance"] = self._distances(means.pop("units"), tf.cast(shape[1], tf.float32))
        return means

    def _windows(self, log_mel: tf.Tensor) -> tf.Tensor:
        """[n, frames, mel_bands] -> [n, patches, patch_frames, mel_bands]."""
        starts = patch_starts(tf.shape(log_mel)[1], self._patch_frames)
        problem = f"no piece of the waveform holds a patch of {self._patch_frames} frames"
        with tf.control_dependencies([tf.debugging.Assert(tf.size(starts) > 0, [problem])]):
            within = starts[:, tf.newaxis] + tf.range(self._patch_frames)
        return tf.gather(log_mel, within, axis=1)

    def _outputs(self, patches: tf.Tensor) -> dict[str, tf.Tensor]:
        """[n, patch_frames, mel_bands, 1], not normalised -> probabilities [n, labels], units [n, units] if needed."""

        def classify(index: tf.Tensor) -> tf.Tensor:
            batch = (patches[index * _BATCH : (index + 1) * _BATCH] - self._mean) * self._scale
            outputs = self._model(batch, training=False)
            if self._axes is None:
                return outputs
            return tf.concat([tf.cast(values, tf.float32) for values in outputs], axis=1)

        # At least one step: an empty array cannot be concatenated.
        steps = tf.maximum(1, -(-tf.shape(patches)[0] // _BATCH))
        labels = len(self._labels)
        if self._axes is None:
            return {"probabilities": _concat_steps(classify, steps, [None, labels])}
        joined = _concat_steps(classify, steps, [None, labels + self._axes.shape[0]])
        return {"probabilities": joined[:, :labels], "units": joined[:, labels:]}

    def _distances(self, means: tf.Tensor, patches: tf.Tensor) -> tf.Tensor:
        """Return [n], as Familiarity.distances does, of means [n, units] over so many patches each."""
        places = means @ self._axes
        each = [tf.reduce_mean(tf.square(places - center), axis=1) for center in self._centers]
        return tf.reduce_min(each, axis=0) - self._within / patches


def _concat_steps(step: Callable[[tf.Tensor], tf.Tensor], count: tf.Tensor, shape: list[int | None]) -> tf.Tensor:
    """Return step(0), step(1), ... step(count - 1), float32 of this shape, joined along the first axis."""

    def run(index: tf.Tensor, results: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        return index + 1, results.write(index, step(index))

    results = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=shape)
    _, results = tf.while_loop(lambda index, _: index < count, run, (0, results), parallel_iterations=1)
    return results.concat()


def patch_starts(frames: tf.Tensor, patch_frames: int) -> tf.Tensor:
    """Return where patches begin, as trainer.serving.recognizer.patch_starts does: [] int32 -> [patches] int32."""
    lengths = _piece_lengths(frames)
    counts = lengths // patch_frames
    piece = tf.repeat(tf.range(tf.size(lengths)), counts)
    number = tf.range(tf.size(piece)) - tf.gather(tf.cumsum(counts, exclusive=True), piece)
    return tf.gather(tf.cumsum(lengths, exclusive=True), piece) + number * patch_frames


def resized_pieces(log_mel: tf.Tensor, length: int) -> tf.Tensor:
    """Return each piece that preprocessing makes a record of, resized as trainer.serving.recognizer.resize does.

    Args:
      log_mel: [n, frames, mel_bands] float32.
      length: frames of a result.

    Returns:
      [n, pieces, length, mel_bands] float32.
    """
    lengths = _piece_lengths(tf.shape(log_mel)[1])[:, tf.newaxis]
    scale = tf.cast(tf.cast(lengths, tf.float64) / length, tf.float32)
    position = (tf.range(length, dtype=tf.float32) + 0.5) * scale - 0.5
    position = tf.clip_by_value(position, 0.0, tf.cast(lengths - 1, tf.float32))
    below = tf.cast(tf.floor(position), tf.int32)
    first = tf.cumsum(lengths, exclusive=True)
    before = tf.gather(log_mel, first + below, axis=1)
    after = tf.gather(log_mel, first + tf.minimum(below + 1, lengths - 1), axis=1)
    return before + (after - before) * (position - tf.cast(below, tf.float32))[..., tf.newaxis]


def _piece_lengths(frames: tf.Tensor) -> tf.Tensor:
    """Return the frames of each record of a track, as beam_preprocess.audio.front_end.segment_lengths does."""
    # Not -(-frames // ...): ONNX, into which this is converted too, rounds towards 0.
    pieces = (frames + MAX_RECORD_FRAMES - 1) // MAX_RECORD_FRAMES
    return frames // pieces + tf.cast(tf.range(pieces) < frames % pieces, tf.int32)


def _checked(waveforms: tf.Tensor, min_samples: int) -> tf.Tensor:
    """Return the waveforms; raise InvalidArgumentError if they are too short or fail preprocessing's energy check."""
    samples = tf.shape(waveforms)[1]
    too_short = tf.strings.format(f"a waveform must hold at least {min_samples} samples, one patch; got {{}}", samples)
    not_finite = "a waveform holds NaN, infinite or absurdly large samples"
    energy = tf.reduce_sum(tf.square(waveforms), axis=1)
    checks = [
        tf.debugging.Assert(samples >= min_samples, [too_short]),
        # False for NaN, too.
        tf.debugging.Assert(tf.reduce_all(energy <= audio.MAX_ENERGY), [not_finite]),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(waveforms)
