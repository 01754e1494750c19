import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_preprocess.audit.fingerprint import BITS, FRAMES_PER_S, NO_WORD, RATE_HZ, Fingerprinter

FINGERPRINT = Fingerprinter()


@pytest.fixture(scope="module")
def sound(music):
    return music("rock")


def error_rate(words, others):
    count = min(len(words), len(others))
    return np.bitwise_count(words[:count] ^ others[:count]).mean() / BITS


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.01, 20))
def test_gain_changes_no_more_than_bits_that_rounding_decides(sound, gain):
    assert error_rate(FINGERPRINT([sound]), FINGERPRINT([np.float32(gain) * sound])) < 1e-3


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 12 * RATE_HZ), max_size=6))
def test_the_same_however_it_is_cut(sound, cuts):
    np.testing.assert_array_equal(FINGERPRINT(np.split(sound, sorted(cuts))), FINGERPRINT([sound]))


def test_half_a_frame_step_aside_it_is_still_the_same_recording(sound):
    assert error_rate(FINGERPRINT([sound]), FINGERPRINT([sound[384:]])) < 0.15


def test_other_music_is_at_chance(sound, music):
    assert error_rate(FINGERPRINT([sound]), FINGERPRINT([music("blues")])) > 0.4


def test_what_sounds_above_the_bands_is_not_mirrored_into_them(sound):
    noise = np.random.default_rng(0).normal(0, 1, len(sound))
    above = scipy.signal.sosfilt(scipy.signal.butter(12, 4000, "highpass", fs=RATE_HZ, output="sos"), noise)
    hiss = (sound.std() * above).astype(np.float32)
    assert error_rate(FINGERPRINT([sound]), FINGERPRINT([sound + hiss])) < 0.05


def test_one_word_a_frame_and_none_for_silence(sound):
    words = FINGERPRINT([sound, np.zeros(RATE_HZ * 4, np.float32)])
    assert words.dtype == np.uint32
    assert len(words) == 1 + (len(sound) + 4 * RATE_HZ) // 768 - 9
    silent = words == NO_WORD
    assert silent[-int(3 * FRAMES_PER_S) :].all()
    assert silent[: int(12 * FRAMES_PER_S) - 12].mean() < 0.1


@pytest.mark.parametrize("samples", [0, 1, 40, 8 * 768, 9 * 768 - 1, 9 * 768, 10 * 768, 128 * 768 + 63, 128 * 768 + 64])
def test_what_is_shorter_than_ten_frames_has_no_words(samples):
    assert len(FINGERPRINT([np.ones(samples, np.float32)])) == max(0, 1 + samples // 768 - 9)
