import numpy as np
import pytest

from trainer.evaluation.calibration import Calibration, calibration_error, group_weights, reliability, scale


def tracks_of(groups, *, labels=4, per_group=3, temperature=3.0, seed=0):
    """Overconfident probabilities: those that labels are drawn from, sharpened by a temperature; labels; groups."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(groups * per_group, labels))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    drawn = np.array([rng.choice(labels, p=row) for row in true])
    return scale(true, 1 / temperature), drawn, [str(number // per_group) for number in range(len(drawn))]


def test_the_temperature_that_sharpened_is_found_and_takes_the_error_away():
    probabilities, labels, groups = tracks_of(2000)
    fitted = Calibration.fit(probabilities, labels, groups)
    assert fitted.temperature == pytest.approx(3.0, rel=0.1)
    before = calibration_error(reliability(probabilities, labels))
    after = calibration_error(reliability(fitted(probabilities), labels))
    assert before > 0.2 and after < 0.04


def test_few_groups_change_less_than_many_like_them():
    probabilities, labels, groups = tracks_of(20)
    temperatures = []
    for times in (1, 50):
        names = [f"{group} {number}" for number in range(times) for group in groups]
        temperatures.append(
            Calibration.fit(np.tile(probabilities, (times, 1)), np.tile(labels, times), names).temperature
        )
    assert 1 < temperatures[0] < temperatures[1]


def test_calibrating_changes_no_answer_and_keeps_probabilities():
    probabilities, labels, groups = tracks_of(20)
    calibrated = Calibration.fit(probabilities, labels, groups)(probabilities)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_hold_the_labels_of_new_groups_as_often_as_promised(coverage):
    covered, sizes = [], []
    for seed in range(60):
        probabilities, labels, groups = tracks_of(80, seed=seed)
        half = len(labels) // 2
        fitted = Calibration.fit(probabilities[:half], labels[:half], groups[:half], coverage=coverage)
        sets = fitted.sets(fitted(probabilities[half:]))
        covered.append(sets[np.arange(half), labels[half:]].mean())
        sizes.append(sets.sum(axis=1).mean())
    assert np.mean(covered) == pytest.approx(coverage, abs=0.03)
    assert 1 <= np.mean(sizes) < 4


def test_too_few_groups_to_promise_anything_give_sets_of_all_labels():
    probabilities, labels, groups = tracks_of(5)
    fitted = Calibration.fit(probabilities, labels, groups)
    assert fitted.sets(fitted(probabilities)).all()


def test_a_set_is_never_empty():
    fitted = Calibration(temperature=1.0, least_probability=0.9, coverage=0.9, tracks=10, groups=10)
    assert fitted.sets(np.array([0.4, 0.3, 0.3])).tolist() == [True, False, False]


def test_every_group_counts_once():
    weights = group_weights(["a"] * 9 + ["b"])
    assert weights.sum() == pytest.approx(1) and weights[-1] == pytest.approx(0.5)
    # Nine wrong tracks of one artist weigh no more than the right one of another.
    probabilities = np.array([[0.9, 0.1]] * 10)
    many = Calibration.fit(probabilities, np.array([1] * 9 + [0]), ["a"] * 9 + ["b"])
    one = Calibration.fit(probabilities[:2], np.array([1, 0]), ["a", "b"])
    assert many.temperature == pytest.approx(one.temperature)


def test_probabilities_of_zero_and_one_are_taken():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    fitted = Calibration.fit(probabilities, np.array([0, 1, 1]), ["a", "b", "c"])
    assert np.isfinite(fitted(probabilities)).all()


def test_rows_hold_every_track_once():
    probabilities, labels, _ = tracks_of(100)
    rows = reliability(probabilities, labels, bins=10)
    assert sum(row["tracks"] for row in rows) == 300
    assert all(row["low"] <= row["confidence"] <= row["high"] for row in rows)
    assert sum(row["tracks"] * row["accuracy"] for row in rows) == (probabilities.argmax(axis=1) == labels).sum()


@pytest.mark.parametrize(("shape", "labels"), [((0, 2), []), ((3,), [0, 0, 0]), ((3, 2), [0, 1])])
def test_what_is_no_prediction_is_refused(shape, labels):
    with pytest.raises(ValueError, match="must be"):
        Calibration.fit(np.full(shape, 0.5), np.array(labels, np.int64), ["a"] * len(labels))


def test_values_of_another_kind_are_refused():
    for change in ({"temperature": float("nan")}, {"least_probability": 2.0}, {"groups": 0}, {"tracks": 0}):
        values = {"temperature": 1.0, "least_probability": 0.5, "coverage": 0.9, "tracks": 3, "groups": 2}
        with pytest.raises(ValueError, match="must be"):
            Calibration(**(values | change))
