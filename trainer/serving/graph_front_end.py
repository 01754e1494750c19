"""The front end as TensorFlow operations, for a model that has to be served without this project."""

import math

import tensorflow as tf

from beam_preprocess.log_mel import FrontEnd

# Frames transformed at a time, over all waveforms: 32 MiB of samples with frames of 1,024.
_BLOCK_FRAMES = 8192
# As in beam_preprocess.log_mel: power below which decibels stop.
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
