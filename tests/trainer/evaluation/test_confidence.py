import dataclasses
import json

import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer.evaluation.calibration import Calibration, scale
from trainer.evaluation.confidence import CONFIDENCE_FILE, FAMILIARITY_FILE, Confidence, Familiarity, load_confidence

FITTED = Confidence(
    Calibration(temperature=2.0, least_probability=0.25, coverage=0.9, tracks=50, groups=20),
    error=0.25,
    sure_from=0.4,
    farthest=2.0,
)


def tracks_of(groups, *, labels=4, per_group=3, temperature=3.0, seed=0):
    """Overconfident probabilities: those that labels are drawn from, sharpened by a temperature; labels; groups."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(groups * per_group, labels))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    drawn = np.array([rng.choice(labels, p=row) for row in true])
    return scale(true, 1 / temperature), drawn, [str(number // per_group) for number in range(len(drawn))]


def test_an_answer_has_a_set_and_says_whether_it_is_sure_and_familiar():
    probabilities = scale(np.array([[0.7, 0.2, 0.1], [0.36, 0.34, 0.3], [0.5, 0.45, 0.05]]), 0.5)
    answer = FITTED.apply(probabilities, np.array([1.0, 2.0, 2.1]))
    np.testing.assert_allclose(answer.probabilities, scale(probabilities, 2.0))
    assert answer.in_set.tolist() == [[True, False, False], [True, True, True], [True, True, False]]
    assert answer.sure.tolist() == [True, False, True]
    assert answer.familiar.tolist() == [True, True, False]
    # One track alone, and no distance: nothing is known to be foreign.
    alone = FITTED.apply(probabilities[2])
    assert alone.in_set.tolist() == [True, True, False] and alone.sure and alone.familiar


def test_sure_answers_of_new_groups_are_wrong_as_seldom_as_asked():
    probabilities, labels, groups = tracks_of(2000)
    half = len(labels) // 2
    base = (probabilities.argmax(axis=1) != labels).mean()
    asked = base / 2
    fitted = Confidence.fit(probabilities[:half], labels[:half], groups[:half], error=asked)
    answer = fitted.apply(probabilities[half:])
    wrong = answer.probabilities.argmax(axis=1) != labels[half:]
    assert wrong[answer.sure].mean() == pytest.approx(asked, abs=0.03)
    assert 0.2 < answer.sure.mean() < 0.95


def test_an_error_that_all_answers_keep_refuses_none_and_one_that_none_keeps_all():
    probabilities, labels, groups = tracks_of(50)
    assert Confidence.fit(probabilities, labels, groups, error=1.0).apply(probabilities).sure.all()
    never_right = (probabilities.argmax(axis=1) + 1) % 4
    assert not Confidence.fit(probabilities, never_right, groups).apply(probabilities).sure.any()


def test_few_tracks_of_new_groups_are_taken_for_foreign():
    rng = np.random.default_rng(0)
    probabilities, labels, groups = tracks_of(200)
    shares = []
    for _ in range(20):
        near, new = np.exp(rng.normal(size=(2, len(labels))))
        fitted = Confidence.fit(probabilities, labels, groups, near)
        shares.append((~fitted.apply(probabilities, new).familiar).mean())
    assert np.mean(shares) == pytest.approx(0.075, abs=0.01)
    # Of three groups, none of those seen is.
    assert fitted.fit(probabilities[:9], labels[:9], groups[:9], near[:9]).farthest == pytest.approx(near[:9].max())


def test_what_lies_off_the_training_patches_is_far():
    rng = np.random.default_rng(0)
    means = np.array([[0, 0, 5], [5, 0, 0]])
    labels = rng.integers(0, 2, 2000)
    spread = np.array([3.0, 0.1, 1.0])
    units = means[labels] + spread * rng.normal(size=(2000, 3))
    familiarity = Familiarity.fit(units, labels, np.arange(2000) // 4)
    # As far from a centre in each case, along an axis that varies much and one that hardly does.
    along, across = familiarity.distances(np.array([[3.0, 0, 5], [0, 3.0, 5]]), np.array([4, 4]))
    assert across > 3 * along
    # A unit that never varies does no harm.
    still = Familiarity.fit(np.column_stack([units, np.zeros(2000)]), labels, np.arange(2000))
    assert np.isfinite(still.distances(np.ones((3, 4)), np.ones(3))).all()


def test_short_tracks_are_as_familiar_as_long_ones():
    rng = np.random.default_rng(0)
    tracks = np.repeat(np.arange(300), 10)
    units = rng.normal(size=(300, 8))[tracks] + 2 * rng.normal(size=(3000, 8))
    familiarity = Familiarity.fit(units, np.zeros(3000, int), tracks)
    assert familiarity.within == pytest.approx(0.8 / 1.1, abs=0.05)
    patches = units.reshape(300, 10, 8)
    long, short = (
        familiarity.distances(patches[:, :count].mean(axis=1), np.full(300, count)).mean() for count in (10, 1)
    )
    assert short == pytest.approx(long, abs=0.05)


def test_both_files_are_read_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    familiarity = Familiarity.fit(rng.normal(size=(50, 3)), rng.integers(0, 2, 50), np.arange(50) // 2)
    FITTED.save(tmp_path)
    familiarity.save(tmp_path)
    confidence, read = load_confidence(tmp_path)
    assert confidence == FITTED
    means, counts = rng.normal(size=(5, 3)), np.arange(1, 6)
    np.testing.assert_array_equal(read.distances(means, counts), familiarity.distances(means, counts))


def test_a_job_without_the_files_has_no_confidence(tmp_path):
    assert load_confidence(tmp_path) == (None, None)
    dataclasses.replace(FITTED, farthest=None).save(tmp_path)
    confidence, familiarity = load_confidence(tmp_path)
    assert confidence is not None and familiarity is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("sure_from", 1.5), ("error", None), ("farthest", "far"), ("calibration", {}), ("more", 1)],
)
def test_a_damaged_file_is_one_line(tmp_path, name, value):
    (tmp_path / CONFIDENCE_FILE).write_text(json.dumps(FITTED.to_json() | {name: value}))
    with pytest.raises(UserError, match="not a model's confidence") as raised:
        load_confidence(tmp_path)
    assert name in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04"])
def test_damaged_distances_are_one_line(tmp_path, data):
    FITTED.save(tmp_path)
    (tmp_path / FAMILIARITY_FILE).write_bytes(data)
    with pytest.raises(UserError, match="train again"):
        load_confidence(tmp_path)
