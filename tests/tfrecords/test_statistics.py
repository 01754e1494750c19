import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrecords.common.json_data import build, parse
from tfrecords.manifest import BandStatistics

BLOCKS = st.lists(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(0, 8), st.just(3)),
        elements=st.floats(-1000, 1000, allow_nan=False, allow_subnormal=False),
    ),
    max_size=6,
)


def same_bits(one, other):
    return one.count == other.count and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("mean", "m2")
    )


@hypothesis.given(BLOCKS)
@hypothesis.settings(deadline=None, max_examples=100)
def test_merging_equals_numpy_over_everything(blocks):
    total = BandStatistics.merged(map(BandStatistics.of, blocks), 3)
    everything = np.concatenate([np.zeros((0, 3)), *blocks])
    assert total.count == len(everything)
    if total.count:
        np.testing.assert_allclose(total.mean, everything.mean(axis=0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(total.variance, everything.var(axis=0), rtol=1e-7, atol=1e-7)


def test_merging_does_not_lose_a_small_variance_beside_a_large_mean():
    # The sum of squares minus the squared sum would leave nothing here.
    rng = np.random.default_rng(0)
    blocks = 1e8 + rng.normal(size=(20, 50, 3))
    total = BandStatistics.merged(map(BandStatistics.of, blocks), 3)
    np.testing.assert_allclose(total.variance, blocks.reshape(-1, 3).var(axis=0), rtol=1e-6)


def test_half_precision_is_summed_in_double():
    values = np.full((100_000, 1), 60000, np.float16)
    assert BandStatistics.of(values).mean == values[0]
    assert BandStatistics.of(values).m2 == 0


def test_nothing_merged_with_anything_changes_nothing():
    some = BandStatistics.of(np.random.default_rng(0).normal(size=(7, 3)))
    nothing = BandStatistics.empty(3)
    assert same_bits(BandStatistics.of(np.zeros((0, 3))), nothing)
    for merged in (some.merge(nothing), nothing.merge(some), BandStatistics.merged([nothing, some, nothing], 3)):
        assert same_bits(merged, some)
    assert same_bits(nothing.merge(nothing), nothing)
    assert nothing.variance.tolist() == [0, 0, 0]


def test_a_band_without_sound_is_not_blown_up():
    silence = BandStatistics.of(np.zeros((5, 2)))
    assert (silence.scale.tolist(), silence.std.tolist()) == ([1, 1], [0, 0])
    # The last is what a resampler leaves above the highest frequency that was there.
    values = np.array([[1.0, 0, 0.004, 1e-8], [5, 0, 0, 3e-6]])
    statistics = BandStatistics.of(values)
    assert statistics.scale.tolist() == [2, 1, 0.002, 1]
    np.testing.assert_allclose(statistics.std, values.std(axis=0), rtol=1e-12)


@hypothesis.given(hnp.arrays(np.float64, (5, 3), elements=st.floats(-1e10, 1e10)))
@hypothesis.settings(deadline=None, max_examples=50)
def test_json_keeps_every_bit(values):
    statistics = BandStatistics.of(values)
    assert same_bits(build(BandStatistics, parse(json.dumps(statistics.to_json()))), statistics)


@pytest.mark.parametrize(
    "damage", [{"mean": [1.0]}, {"m2": 3.0}, {"m2": [0.0, -1.0]}, {"count": -1}, {"mean": ["x", "y"]}]
)
def test_statistics_that_cannot_be_are_refused(damage):
    with pytest.raises(ValueError, match="must be"):
        build(BandStatistics, {"count": 1, "mean": [1.0, 2.0], "m2": [0.0, 0.0]} | damage)
