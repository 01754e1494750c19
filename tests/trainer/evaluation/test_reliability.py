import numpy as np
import pytest

from trainer.evaluation.confidence import Confidence
from trainer.evaluation.reliability import assess, corrected_error, equal_rows, error_by_chance, measure


def drawn(tracks, *, seed=0, labels=3):
    """Probabilities that labels are drawn from, and these."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(labels), tracks)
    return probabilities, np.array([rng.choice(labels, p=row) for row in probabilities])


def test_probabilities_that_are_right_have_an_error_by_chance_alone():
    found = [measure(*drawn(200, seed=seed)) for seed in range(40)]
    errors = np.array([each["error"] for each in found])
    assert errors.mean() == pytest.approx(np.mean([each["error_by_chance"]["mean"] for each in found]), rel=0.1)
    assert np.mean([each["error"] > each["error_by_chance"]["high"] for each in found]) <= 0.1
    # The square is corrected: about half of them are below what chance takes away.
    assert np.mean([each["corrected_error"] for each in found]) < 0.6 * errors.mean()


def test_a_true_error_is_found_by_both():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.6, 1, 5000)
    right = rng.random(5000) < confidence - 0.2
    assert corrected_error(confidence, right) == pytest.approx(0.2, abs=0.02)
    assert error_by_chance(confidence)["high"] < 0.05


def test_ranges_hold_as_many_tracks_each_and_every_track_once():
    confidence = np.random.default_rng(0).random(103)
    rows = equal_rows(confidence, confidence > 0.5, bins=8)
    assert sum(row["tracks"] for row in rows) == 103 and {row["tracks"] for row in rows} == {12, 13}
    assert [row["confidence"] for row in rows] == sorted(row["confidence"] for row in rows)
    # Of few tracks there is one range.
    assert len(equal_rows(confidence[:12], np.ones(12, bool), bins=8)) == 1


def test_an_assessment_counts_sets_sure_answers_and_refusals():
    probabilities, labels = drawn(600)
    groups = [str(number // 2) for number in range(600)]
    distances = np.random.default_rng(1).random(600)
    fitted = Confidence.fit(probabilities[:300], labels[:300], groups[:300], distances[:300])
    answer = fitted.apply(probabilities[300:], distances[300:])
    found = assess(fitted, answer, probabilities[300:], labels[300:], groups[300:])
    assert found["sets"]["covered"] == pytest.approx(0.9, abs=0.06) and 1 <= found["sets"]["labels"] <= 3
    assert found["sure"]["share"] == answer.sure.mean() < 1
    assert found["unfamiliar"] == pytest.approx(0.075, abs=0.05)
    assert max(found["unfamiliar"], 1 - found["sure"]["share"]) <= found["refused"] < 1
    assert assess(None, None, probabilities, labels, groups).keys() == {"raw"}
