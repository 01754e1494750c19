import io

import numpy as np
import pytest
import soundfile

from tools.ogg_pages import with_checksums


@pytest.fixture(scope="module")
def stream():
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, 30_000), 22050, format="OGG", subtype="VORBIS")
    return file.getvalue()


def test_a_good_streams_checksums_are_found_again(stream):
    damaged = bytearray(stream)
    damaged[22:26] = b"\0\0\0\0"
    assert with_checksums(bytes(damaged)) == with_checksums(stream) == stream


def test_a_tampered_page_is_read_again(stream):
    rate_at = stream.index(b"\x01vorbis") + 12
    lying = stream[:rate_at] + (8000).to_bytes(4, "little") + stream[rate_at + 4 :]
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(io.BytesIO(lying))
    assert soundfile.info(io.BytesIO(with_checksums(lying))).samplerate == 8000


@pytest.mark.parametrize("end", [0, 1, 26, 27, 40, -1])
def test_a_torn_stream_is_left_as_it_is(stream, end):
    assert len(with_checksums(stream[:end])) == len(stream[:end])
