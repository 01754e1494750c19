import io

import av
import numpy as np
import pytest

from tools import encode

RATE = 48000
KINDS = {name: kind for name, kind in vars(encode).items() if isinstance(kind, encode.Kind)}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_is_read_again(name, channels):
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    samples = np.stack([tone] * channels, axis=1).astype(np.float32)
    with av.open(io.BytesIO(encode.encode(samples, RATE, KINDS[name]))) as file:
        stream = file.streams.audio[0]
        assert (stream.codec_context.sample_rate, stream.codec_context.channels) == (RATE, channels)
        frames = list(file.decode(stream))
    assert sum(frame.samples for frame in frames) == pytest.approx(RATE, abs=3 * 1152)
