import numpy as np
import pytest
import soxr

from beam_preprocess.audio import Block
from beam_preprocess.audio.measure import TrackMeasure


def measured(channels, *, rate=22050, blocks=1):
    measure = TrackMeasure()
    for parts in zip(*(np.array_split(np.asarray(channel, np.float32), blocks) for channel in channels), strict=True):
        measure(Block(parts, rate), np.mean(parts, axis=0, dtype=np.float32))
    return measure.sound()


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 10 * 22050).astype(np.float32)


def test_sound_of_nothing_wrong(noise):
    sound = measured([noise, np.roll(noise, 100)])
    assert sound.sample_rate == 22050
    assert sound.bandwidth_hz == pytest.approx(11025, rel=0.01)
    assert not sound.cancels
    assert not sound.far_beyond_full_scale


@pytest.mark.parametrize("low", [8000, 16000])
def test_what_was_once_at_a_lower_rate_has_nothing_above_half_of_it(noise, low):
    narrow = soxr.resample(soxr.resample(noise, 22050, low), low, 22050)
    as_16_bits = np.round(narrow * 32767) / 32768
    assert measured([as_16_bits]).bandwidth_hz == pytest.approx(low / 2, rel=0.05)


def test_bandwidth_is_that_of_the_fullest_moment(noise):
    quiet = np.sin(0.1 * np.arange(len(noise)))
    assert measured([np.concatenate([quiet, 0.1 * noise])]).bandwidth_hz > 10_000
    assert measured([quiet]).bandwidth_hz < 2_000


def test_channels_that_cancel(noise):
    assert measured([noise, -noise]).cancels
    assert measured([noise, -0.999 * noise]).cancels
    assert not measured([noise, -0.5 * noise]).cancels
    assert not measured([np.zeros(9999), np.zeros(9999)]).cancels


def test_samples_far_beyond_full_scale(noise):
    assert measured([32767 * noise]).far_beyond_full_scale
    assert not measured([3 * noise]).far_beyond_full_scale


def test_silence(noise):
    assert measured([0 * noise]).bandwidth_hz == 0


def test_blocks_of_any_length_say_the_same(noise):
    whole = measured([noise, -noise])
    for blocks in (2, 7, 100):
        assert measured([noise, -noise], blocks=blocks).cancels == whole.cancels
    assert measured([noise], blocks=7).bandwidth_hz == pytest.approx(measured([noise]).bandwidth_hz, rel=0.02)


def test_silence_is_what_does_not_move(noise):
    nothing = np.zeros(3 * 22050)
    dithered = np.round(np.random.default_rng(0).uniform(-1, 1, len(nothing))) / 32768
    for quiet in (nothing, nothing + 0.5, dithered, dithered - 0.25):
        assert measured([quiet], blocks=3).silent
        assert measured([quiet, nothing], blocks=3).silent
        # Between two windows, and in one channel alone.
        for moves in (quiet.copy(), np.concatenate([quiet, 1e-3 * noise])):
            moves[30_000] += 1e-4
            assert not measured([moves], blocks=3).silent
            assert not measured([np.zeros(len(moves)), moves], blocks=3).silent
    assert not measured([np.repeat([0.1, 0.2], 22050)], blocks=2).silent
    assert not measured([noise, -noise]).silent
