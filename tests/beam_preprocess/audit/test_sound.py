import numpy as np
import pytest

from beam_preprocess.audio import Block
from beam_preprocess.audit.analysis import Measure

RATE_HZ = 8000
WORDS = np.arange(5, dtype=np.uint32)


def heard(samples, *, blocks=1, words=WORDS, rate=RATE_HZ):
    samples = np.asarray(samples, np.float32).reshape(len(samples), -1)
    measure = Measure()
    for block in np.array_split(samples, blocks):
        measure(Block(tuple(block.T), rate), block.mean(axis=1, dtype=np.float32))
    return measure.sound(words)


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE_HZ).astype(np.float32)


def test_sound_of_nothing_wrong(noise):
    sound = heard(noise)
    assert (sound.duration_s, sound.sample_rate, sound.channels) == (10, RATE_HZ, 1)
    assert (sound.clipped, sound.silent, sound.same_channels) == (0, 0, False)


def test_flat_tops_count_and_single_peaks_do_not(noise):
    noise[100:103] = 1
    noise[200:204] = -1
    noise[300:302] = 1
    noise[400] = 1.2
    assert heard(noise).clipped == pytest.approx(7 / len(noise), abs=1e-6)


def test_each_channel_is_looked_at_for_itself(noise):
    stereo = np.stack([noise, noise], axis=1)
    stereo[100:110, 1] = 1
    assert heard(stereo).clipped == pytest.approx(10 / stereo.size, abs=1e-6)


def test_silence_is_counted_in_half_seconds(noise):
    noise[: 2 * RATE_HZ] *= 1e-4
    assert heard(noise).silent == 0.2


@pytest.mark.parametrize(("difference", "same"), [(0, True), (1e-5, True), (0.05, False), (-2, False)])
def test_channels_that_are_the_same(noise, difference, same):
    other = noise + np.float32(difference) * np.roll(noise, 77)
    assert heard(np.stack([noise, other], axis=1), blocks=3).same_channels is same


def test_content_is_of_the_samples_whatever_the_channels_and_blocks(noise):
    content = heard(noise).content
    assert heard(noise, blocks=4).content == content
    assert heard(np.stack([noise, noise], axis=1)).content == content
    assert heard(0.5 * noise).content != content
    assert heard(noise, words=WORDS + 1).content != content
    assert heard(noise, rate=2 * RATE_HZ).content != content
