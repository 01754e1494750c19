"""The front end as TensorFlow operations, for a model that has to be served without this project.

A trained model with all that lies before it, as TensorFlow functions: audio in, probabilities out.
"""

import math
from typing import Any

import keras
import tensorflow as tf

from beam_preprocess import audio
from beam_preprocess.audio.front_end import MAX_RECORD_FRAMES, FrontEnd
from tfrecords.schema import to_bytes
from trainer.training_job import TrainingJob

# Frames transformed at a time, over all waveforms: 32 MiB of samples with frames of 1,024.
_BLOCK_FRAMES = 8192
# As in beam_preprocess.audio.front_end: power below which decibels stop.
_AMIN = 1e-10


class GraphFrontEnd(tf.Module):
    """Waveforms -> log-mel, by the window and filters of a FrontEnd.

    log10 values differ from FrontEnd's by less than 1e-3 (measured: 1e-5). Decibels are computed in float64, where
    FrontEnd does so for steep frames only: within 1e-3 dB of it for bins up to 80 dB under the clip's peak, within 0.02
    dB below.
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
        """[n, samples] float32 -> [n, 1 + samples // hop_length, n_mels] float32, frames centred as FrontEnd's."""
        before = self._length // 2
        padded = tf.pad(waveforms, [[0, 0], [before, self._length - before]])
        frames = 1 + tf.shape(waveforms)[1] // self._hop
        block = tf.maximum(1, _BLOCK_FRAMES // tf.maximum(1, tf.shape(waveforms)[0]))
        blocks = -(-frames // block)

        def transform(index: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            first = index * block
            last = tf.minimum(first + block, frames) - 1
            log_mel = self._log_mel(padded[:, first * self._hop : last * self._hop + self._length])
            return index + 1, done.write(index, tf.transpose(log_mel, [1, 0, 2]))

        # Blocks differ in length, and concat joins them along their first axis, which is therefore time.
        shape = [None, None, self._filters.shape[1]]
        done = tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=shape)
        _, done = tf.while_loop(lambda index, _: index < blocks, transform, (0, done), parallel_iterations=1)
        return tf.transpose(done.concat(), [1, 0, 2])

    def _log_mel(self, padded: tf.Tensor) -> tf.Tensor:
        frames = tf.signal.frame(tf.cast(padded, self._window.dtype), self._length, self._hop)
        # Not tf.signal.stft, which lengthens the transform to a power of two unless told, and pads odd frames its way.
        spectrum = tf.signal.rfft(frames * self._window)
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        mel = power @ self._filters
        if self._decibels:
            return tf.cast(10 / math.log(10) * tf.math.log(tf.maximum(mel, _AMIN)), tf.float32)
        return tf.math.log1p(mel * 1e4) * (1 / math.log(10))


# Patches in a step of the model, as in trainer.serving.recognizer: memory does not grow with the recording's length.
_BATCH = 256


class ServedModel(tf.Module):
    """What is exported. Its methods are the signatures; each returns labels [labels] string beside the numbers.

    The patches are those of trainer.serving.recognizer, normalised as in training. Errors are those of
    tf.errors.InvalidArgumentError: a waveform shorter than a patch, or with samples that no sound has.
    """

    def __init__(self, job: TrainingJob, model: keras.Model, front_end: FrontEnd) -> None:
        super().__init__()
        self._sample_rate = front_end.config.sample_rate
        self._patch_frames, self._mel_bands = job.patch_frames, front_end.config.n_mels
        self._min_samples = front_end.min_samples(job.patch_frames)
        self._front_end = GraphFrontEnd(front_end)
        self._mean = tf.constant(job.statistics.mean[:, None], tf.float32)
        self._scale = 1 / tf.constant(job.statistics.scale[:, None], tf.float32)
        # As bytes: TensorFlow takes no text that is not Unicode, and a folder of that name need not be.
        self._labels = tf.constant([to_bytes(label) for label in job.labels])
        self._model = model
        # Of the model itself nothing but its variables is saved; its operations are in the functions.
        self._weights = [variable.value for variable in model.variables]

    def signatures(self) -> dict[str, Any]:
        """Name -> function, for tf.saved_model.save."""
        waveform = tf.TensorSpec([None], tf.float32, "waveform")
        waveforms = tf.TensorSpec([None, None], tf.float32, "waveforms")
        patches = tf.TensorSpec([None, self._patch_frames, self._mel_bands, 1], tf.float32, "patches")
        return {
            "serving_default": tf.function(self.waveform, [waveform]),
            "batch": tf.function(self.waveforms, [waveforms]),
            "patches": tf.function(self.patches, [patches]),
            "wav_bytes": tf.function(self.wav_bytes, [tf.TensorSpec([], tf.string, "wav_bytes")]),
            "log_mel": tf.function(self.log_mel, [waveform]),
        }

    def waveform(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """[samples] float32, mono at the model's rate -> probabilities [labels], the mean over its patches."""
        return self._answer(self._mean_probabilities(waveform[tf.newaxis])[0])

    def waveforms(self, waveforms: tf.Tensor) -> dict[str, tf.Tensor]:
        """[n, samples] float32, waveforms of one length -> probabilities [n, labels]."""
        return self._answer(self._mean_probabilities(waveforms))

    def patches(self, patches: tf.Tensor) -> dict[str, tf.Tensor]:
        """[n, patch_frames, mel_bands, 1] float32, log-mel as in the shards, not normalised -> [n, labels]."""
        shape = [self._patch_frames, self._mel_bands, 1]
        problem = tf.strings.format(f"patches must be [n, {shape[0]}, {shape[1]}, 1], got {{}}", tf.shape(patches))
        fits = tf.debugging.Assert(tf.reduce_all(tf.shape(patches)[1:] == shape), [problem])
        finite = tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(patches)), ["patches hold NaN or infinite values"])
        with tf.control_dependencies([fits, finite]):
            return self._answer(self._probabilities(tf.identity(patches)))

    def log_mel(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """[samples] float32 -> log_mel [frames, mel_bands] float32, from which patches for `patches` can be cut."""
        return {"log_mel": self._front_end(_checked(waveform[tf.newaxis], 0))[0]}

    def wav_bytes(self, wav_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """A WAV file of 16-bit samples at the model's rate, string -> probabilities [labels].

        Any number of channels: the mean is taken. Resampling is not in the graph, so other rates are refused.
        """
        samples, rate = tf.audio.decode_wav(wav_bytes)
        wanted = self._sample_rate
        problem = tf.strings.format(f"the WAV file must be at {wanted} Hz, got {{}} Hz; resample it first", rate)
        with tf.control_dependencies([tf.debugging.Assert(rate == wanted, [problem])]):
            return self.waveform(tf.reduce_mean(samples, axis=1))

    def _answer(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": probabilities, "labels": tf.identity(self._labels)}

    def _mean_probabilities(self, waveforms: tf.Tensor) -> tf.Tensor:
        """[n, samples] -> [n, labels]."""
        log_mel = self._front_end(_checked(waveforms, self._min_samples))
        starts = patch_starts(tf.shape(log_mel)[1], self._patch_frames)
        problem = f"no piece of the waveform holds a patch of {self._patch_frames} frames"
        with tf.control_dependencies([tf.debugging.Assert(tf.size(starts) > 0, [problem])]):
            within = starts[:, tf.newaxis] + tf.range(self._patch_frames)
        patches = tf.gather(log_mel, within, axis=1)
        flat = tf.reshape(patches, [-1, self._patch_frames, self._mel_bands, 1])
        shape = [tf.shape(waveforms)[0], tf.size(starts), len(self._labels)]
        return tf.reduce_mean(tf.reshape(self._probabilities(flat), shape), axis=1)

    def _probabilities(self, patches: tf.Tensor) -> tf.Tensor:
        """[n, patch_frames, mel_bands, 1], not normalised -> [n, labels], some at a time."""
        # At least one: joining none is not defined.
        steps = tf.maximum(1, -(-tf.shape(patches)[0] // _BATCH))

        def step(index: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            some = (patches[index * _BATCH : (index + 1) * _BATCH] - self._mean) * self._scale
            return index + 1, done.write(index, self._model(some, training=False))

        done = tf.TensorArray(tf.float32, steps, infer_shape=False, element_shape=[None, len(self._labels)])
        _, done = tf.while_loop(lambda index, _: index < steps, step, (0, done), parallel_iterations=1)
        return done.concat()


def patch_starts(frames: tf.Tensor, patch_frames: int) -> tf.Tensor:
    """As trainer.serving.recognizer, in the graph: [] int32 -> [patches] int32."""
    pieces = -(-frames // MAX_RECORD_FRAMES)
    index = tf.range(pieces)
    lengths = frames // pieces + tf.cast(index < frames % pieces, tf.int32)
    counts = lengths // patch_frames
    piece = tf.repeat(index, counts)
    number = tf.range(tf.size(piece)) - tf.gather(tf.cumsum(counts, exclusive=True), piece)
    return tf.gather(tf.cumsum(lengths, exclusive=True), piece) + number * patch_frames


def _checked(waveforms: tf.Tensor, min_samples: int) -> tf.Tensor:
    """The waveforms, once they are known to be as long and as loud as the gate for audio files wants them."""
    samples = tf.shape(waveforms)[1]
    short = tf.strings.format(f"a waveform must hold at least {min_samples} samples, one patch; got {{}}", samples)
    wild = "a waveform holds NaN, infinite or absurdly large samples"
    energy = tf.reduce_sum(tf.square(waveforms), axis=1)
    long_enough = tf.debugging.Assert(samples >= min_samples, [short])
    # NaN fails the comparison too.
    finite = tf.debugging.Assert(tf.reduce_all(energy <= audio.MAX_ENERGY), [wild])
    with tf.control_dependencies([long_enough, finite]):
        return tf.identity(waveforms)
