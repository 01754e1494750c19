import io

import av
import numpy as np
import pytest

from tools import encode

RATE = 48000
KINDS = [kind for kind in vars(encode).values() if isinstance(kind, encode.Kind)]


def test_what_is_written_is_read_again():
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    for kind in KINDS:
        for channels in (1, 2):
            samples = np.stack([tone] * channels, axis=1).astype(np.float32)
            with av.open(io.BytesIO(encode.encode(samples, RATE, kind))) as file:
                stream = file.streams.audio[0]
                assert (stream.codec_context.sample_rate, stream.codec_context.channels) == (RATE, channels)
                assert sum(frame.samples for frame in file.decode(stream)) == pytest.approx(RATE, abs=3 * 1152)
