"""Files as people have them come out whole: each kind by its length and by its samples."""

import io

import numpy as np
import pytest

from beam_preprocess.audio import EXTENSIONS, Reject, decode
from beam_preprocess.audio.headers import missing_wav_length
from beam_preprocess.audio.source import Source
from tests.beam_preprocess.audio.audio_files import FILES, JOINED, RATE, make_file, make_joined, music


@pytest.fixture(params=[False, True], ids=["on this machine", "elsewhere"])
def read(request, tmp_path):
    """Decodes a file's bytes to [samples] float32 at RATE."""

    def read(data):
        limits = {"sample_rate": RATE, "min_samples": 1, "max_duration_s": 60.0}
        if request.param:
            return decode(io.BytesIO(data), **limits)
        (tmp_path / "file").write_bytes(data)
        with (tmp_path / "file").open("rb") as file:
            return decode(file, **limits)

    return read


def error_db(found, expected):
    """How far what was decoded is from the source, in dB of it, where the two fit best; both [samples]."""
    reach = RATE // 15
    inner = expected[reach:-reach]
    spectrum = np.fft.rfft(found, 2 * len(expected)) * np.fft.rfft(inner, 2 * len(expected)).conj()
    lag = int(np.fft.irfft(spectrum)[: 4 * reach].argmax())
    error = np.pad(found, (0, 4 * reach))[lag : lag + len(inner)] - inner
    return 10 * np.log10(np.dot(error, error) / np.dot(inner, inner) + 1e-20)


@pytest.mark.parametrize("name", FILES)
def test_a_file_comes_out_whole(name, read):
    data = make_file(name)
    if data is None:
        pytest.skip("needs a program that is not installed")
    expected = music().mean(axis=1)
    found = read(data)
    assert abs(len(found) - len(expected)) <= 0.05 * RATE
    assert error_db(found, expected) < -40


@pytest.mark.parametrize("name", JOINED)
def test_of_joined_files_all_come_out(name, read):
    expected = music().mean(axis=1)
    found = read(make_joined(name))
    assert abs(len(found) - 2 * len(expected)) <= 0.1 * RATE
    for half in np.array_split(found, 2):
        padded = np.pad(half, RATE // 20)
        assert error_db(padded, expected) < -40


def test_every_ending_that_is_listed_is_of_a_container_tested_here():
    tested = {name.split()[0] for name in FILES}
    same = {"wave": "wav", "bwf": "wav", "aif": "aiff", "snd": "au", "m4b": "m4a", "m4r": "m4a", "weba": "webm"}
    listed = {ending.removeprefix(".") for ending in EXTENSIONS}
    # No encoder of Monkey's Audio is to be had; tools.formats looks at real files.
    assert {same.get(ending, ending) for ending in listed} - tested == {"ape"}


@pytest.mark.parametrize("name", ["m4a", "mp4", "mov", "wma", "wv", "mka", "webm", "opus", "oga flac", "mp3", "tta"])
@pytest.mark.parametrize("fraction", [0.4, 0.9])
def test_a_file_that_was_cut_is_not_taken_for_whole(name, fraction, read):
    data = make_file(name)
    with pytest.raises(Reject) as caught:
        read(data[: int(fraction * len(data))])
    assert caught.value.reason in ("truncated", "undecodable")


@pytest.mark.parametrize("fraction", [0.4, 0.9])
def test_an_m4a_cut_before_its_index_is_truncated(fraction, read):
    data = make_file("m4a")
    assert data.find(b"moov") > data.find(b"mdat")
    with pytest.raises(Reject) as caught:
        read(data[: int(len(data) * fraction)])
    assert caught.value.reason == "truncated"


def test_a_wma_with_something_behind_it_is_as_long_as_its_header_says(read):
    data = make_file("wma")
    np.testing.assert_array_equal(read(data + bytes(len(data) // 5)), read(data))


def test_of_a_cut_wma_the_length_in_its_header_is_told(read):
    data = make_file("wma")
    with pytest.raises(Reject, match=r"of 3.02 s") as caught:
        read(data[: len(data) // 2])
    assert caught.value.reason == "truncated"


def test_an_rf64_without_audio_says_nothing_of_a_length():
    sizes = b"ds64" + (28).to_bytes(4, "little") + bytes(28)
    assert missing_wav_length(Source(io.BytesIO(b"RF64\xff\xff\xff\xffWAVE" + sizes))) is None
    data = b"data\xff\xff\xff\xff" + bytes(100)
    assert missing_wav_length(Source(io.BytesIO(b"RF64\xff\xff\xff\xffWAVE" + sizes + data))) == (
        28,
        (100).to_bytes(8, "little"),
    )
