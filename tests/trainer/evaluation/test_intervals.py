import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from trainer.evaluation import intervals
from trainer.evaluation.intervals import bootstrap, interval, wilson_interval


def random_right(models=2, tracks=200, seed=0, share=0.6):
    return np.random.default_rng(seed).random((models, tracks)) < share


def width(right, groups):
    low, high = interval(bootstrap(right[np.newaxis], groups)[:, 0])
    return high - low


def test_draws_are_whole_groups_with_replacement_and_scores_are_shares_of_their_tracks():
    groups = np.array([0, 0, 0, 1, 2, 2])
    right = np.array([[1, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1, 0]], bool)
    expected = []
    for drawn in np.random.default_rng(5).integers(3, size=(40, 3)):
        tracks = np.concatenate([np.flatnonzero(groups == group) for group in drawn])
        expected.append(right[:, tracks].mean(axis=1))
    np.testing.assert_allclose(bootstrap(right, groups, draws=40, seed=5), expected, rtol=1e-12)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.87])
def test_groups_of_one_give_nearly_the_binomial_interval(share):
    right = np.arange(400) < share * 400
    found = interval(bootstrap(right[np.newaxis], np.arange(400))[:, 0])
    np.testing.assert_allclose(found, wilson_interval(int(right.sum()), 400), atol=0.012)


def test_tracks_that_only_repeat_their_group_are_worth_one():
    alone = random_right(1, 60)
    repeated, groups = np.repeat(alone, 5, axis=1), np.repeat(np.arange(60), 5)
    once = interval(bootstrap(alone, np.arange(60))[:, 0])
    assert interval(bootstrap(repeated, groups)[:, 0]) == pytest.approx(once)
    assert width(repeated[0], groups) / width(repeated[0], np.arange(300)) == pytest.approx(np.sqrt(5), rel=0.1)


def test_95_of_100_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(80), rng.integers(1, 6, 80))
    held = 0
    for number in range(300):
        # Whole artists are easy or hard: their tracks go together. The mean of Beta(2, 2) is a half.
        right = rng.random(len(groups)) < rng.beta(2, 2, 80)[groups]
        low, high = interval(bootstrap(right[np.newaxis], groups, draws=1000, seed=number)[:, 0])
        held += low <= 0.5 <= high
    assert 0.91 <= held / 300 <= 0.98


def test_the_same_answers_differ_by_nothing():
    right = random_right(1)
    drawn = bootstrap(np.concatenate([right, right]), np.arange(200) // 3)
    assert interval(drawn[:, 0] - drawn[:, 1]) == (0, 0)


def test_a_difference_turned_round_is_its_negative():
    drawn = bootstrap(random_right(), np.arange(200) // 3)
    low, high = interval(drawn[:, 0] - drawn[:, 1])
    assert low < high
    assert interval(drawn[:, 1] - drawn[:, 0]) == pytest.approx((-high, -low))


def test_a_difference_is_that_of_pairs():
    # One is right wherever the other is, and once more in ten: far surer than two accuracies of unrelated tracks.
    other = random_right(1)[0]
    one = other | (np.arange(200) % 10 == 0)
    drawn = bootstrap(np.stack([one, other]), np.arange(200))
    low, high = interval(drawn[:, 0] - drawn[:, 1])
    assert low > 0 and high - low < 0.1 < width(one, np.arange(200))


def test_neither_blocks_nor_other_models_change_the_draws(monkeypatch):
    right, groups = random_right(3), np.arange(200) // 3
    whole = bootstrap(right, groups)
    np.testing.assert_array_equal(bootstrap(right[1:2], groups)[:, 0], whole[:, 1])
    monkeypatch.setattr(intervals, "_BLOCK_NUMBERS", 1000)
    np.testing.assert_array_equal(bootstrap(right, groups), whole)


@pytest.mark.parametrize(
    ("right", "groups", "message"),
    [
        (np.ones((1, 3)), np.array([0, 2, 2]), "1 has no track"),
        (np.ones((1, 3)), np.array([0, 1]), r"got \(1, 3\), \(2,\)"),
        (np.ones(3), np.array([0, 1, 2]), r"right must be \[models, tracks >= 1\]"),
    ],
)
def test_arrays_that_do_not_fit(right, groups, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(right, groups)


def test_wilson_interval_solves_its_equation():
    # The ends are where a true share p would lie just z standard errors from the share seen.
    for successes, total in ((1, 10), (45, 90), (289, 290)):
        for end in wilson_interval(successes, total):
            distance = abs(end - successes / total) / math.sqrt(end * (1 - end) / total)
            assert distance == pytest.approx(1.959964, abs=1e-5)
    low, high = wilson_interval(45, 90)
    assert (low, high) == (pytest.approx(0.3988, abs=5e-5), pytest.approx(0.6012, abs=5e-5))


@hypothesis.given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@hypothesis.settings(deadline=None, max_examples=60)
def test_wilson_interval_holds_the_share_and_stays_in_range(counts):
    successes, total = counts
    low, high = wilson_interval(successes, total)
    assert 0 <= low <= successes / total <= high <= 1
    assert (low == 0) == (successes == 0) and (high == 1) == (successes == total)
    wider = wilson_interval(successes, total, 0.99)
    assert wider[0] <= low and high <= wider[1]


@pytest.mark.parametrize("arguments", [(0, 0), (-1, 3), (4, 3), (1, 3, 0.0), (1, 3, 1.0)])
def test_wilson_interval_refuses_impossible_counts(arguments):
    with pytest.raises(ValueError, match="; got "):
        wilson_interval(*arguments)
