import json
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trainer.evaluation import intervals, metrics

NAMES = ("blues", "jazz", "rock")


def make(probabilities, labels, track_ids, label_names=NAMES):
    return metrics.Predictions(
        np.array(probabilities, np.float32), np.array(labels, np.int32), track_ids, tuple(label_names)
    )


def random_predictions(tracks=40, patches=7, num_labels=5, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(num_labels), tracks * patches)
    labels = rng.integers(0, num_labels, tracks)
    order = rng.permutation(tracks * patches)
    track = np.repeat(np.arange(tracks), patches)[order]
    names = [f"label {number}" for number in range(num_labels)]
    return make(probabilities, labels[track], [f"track {number}" for number in track], names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.ones(3, np.float32)}, r"\[patches >= 1, labels = 3\]; got shape \(3,\)"),
        ({"probabilities": np.ones((2, 2), np.float32)}, r"got shape \(2, 2\)"),
        ({"probabilities": np.ones((0, 3), np.float32)}, r"got shape \(0, 3\)"),
        ({"labels": np.array([0])}, r"shape \[patches = 2\]; got int64 of shape \(1,\)"),
        ({"labels": np.array([0.0, 1.0])}, "got float64"),
        ({"labels": np.array([0, 3])}, r"in 0 \.\.\. 2; got 0 \.\.\. 3"),
        ({"labels": np.array([-1, 0])}, r"got -1 \.\.\. 0"),
        ({"track_ids": ["a"]}, "each of 2 patches; got 1"),
        ({"label_names": ("a", "b", "a")}, "different names; got"),
        ({"label_names": ()}, "different names; got"),
        ({"probabilities": np.array([[1, 0, 0], [0, np.nan, 1]])}, "finite; got .*nan.* patch 1 of track 'b'"),
        ({"probabilities": np.array([[np.inf, 0, 0], [0, 1, 1]])}, "finite; got .*inf.* patch 0 of track 'a'"),
    ],
)
def test_predictions_refuse_what_breaks_their_rules(change, message):
    good = {
        "probabilities": np.full((2, 3), 1 / 3, np.float32),
        "labels": np.array([0, 1], np.int32),
        "track_ids": ["a", "b"],
        "label_names": NAMES,
    }
    metrics.Predictions(**good)
    with pytest.raises(ValueError, match=message):
        metrics.Predictions(**(good | change))


def test_tracks_keep_their_first_order_and_gather_scattered_patches():
    result = metrics.tracks(
        make(
            [[0.0, 1.0, 0.0], [0.5, 0.25, 0.25], [0.5, 0.0, 0.5], [0.0, 0.75, 0.25]], [1, 2, 1, 2], ["z", "a", "z", "a"]
        )
    )
    assert result.track_ids == ("z", "a")
    assert result.labels.tolist() == [1, 2] and result.labels.dtype == np.int32
    assert result.mean_probabilities.tolist() == [[0.25, 0.5, 0.25], [0.25, 0.5, 0.25]]
    assert result.mean_prediction.tolist() == [1, 1]


def test_vote_and_mean_can_disagree():
    result = metrics.tracks(make([[0.51, 0.49, 0], [0.51, 0.49, 0], [0.0, 1.0, 0]], [0, 0, 0], ["a"] * 3))
    assert result.vote_prediction.tolist() == [0]
    assert result.mean_prediction.tolist() == [1]


def test_a_tied_vote_goes_to_the_higher_mean_among_those_that_tie():
    # jazz and rock have two votes each and rock the higher mean; blues has the highest mean of all, but one vote.
    patches = [[0.4, 0.6, 0], [0.4, 0.6, 0], [0.3, 0, 0.7], [0.3, 0, 0.7], [1, 0, 0]]
    result = metrics.tracks(make(patches, [0] * 5, ["a"] * 5))
    assert result.vote_prediction.tolist() == [2]
    assert result.mean_prediction.tolist() == [0]


def test_a_tie_in_vote_and_mean_goes_to_the_first_label():
    result = metrics.tracks(make([[0, 0.75, 0.25], [0, 0.25, 0.75]], [0, 0], ["a", "a"]))
    assert result.vote_prediction.tolist() == result.mean_prediction.tolist() == [1]


def test_tracks_equal_a_plain_loop():
    predictions = random_predictions()
    result = metrics.tracks(predictions)
    for number, track_id in enumerate(result.track_ids):
        mine = np.array([other == track_id for other in predictions.track_ids])
        mean = predictions.probabilities[mine].mean(axis=0)
        votes = np.bincount(predictions.probabilities[mine].argmax(axis=1), minlength=5)
        np.testing.assert_allclose(result.mean_probabilities[number], mean, rtol=1e-5)
        assert result.labels[number] == predictions.labels[mine][0]
        assert result.vote_prediction[number] == max(range(5), key=lambda label: (votes[label], mean[label]))


def test_track_ids_are_told_apart_exactly():
    # NumPy's own string arrays drop trailing NULs.
    result = metrics.tracks(make(np.eye(3), [0, 1, 2], ["a", "a\0", "\udcff"]))
    assert result.track_ids == ("a", "a\0", "\udcff")


def test_a_track_with_two_labels_is_an_error():
    with pytest.raises(ValueError, match="one label; got several for 'b'"):
        metrics.tracks(make(np.eye(3), [0, 1, 2], ["a", "b", "b"]))


LABELS = hnp.arrays(np.int64, st.shared(st.integers(0, 60), key="n"), elements=st.integers(0, 4))


@hypothesis.given(LABELS, LABELS)
@hypothesis.settings(deadline=None, max_examples=60)
def test_confusion_and_scores_equal_scikit_learn(labels, predictions):
    confusion = metrics.confusion_matrix(labels, predictions, 5)
    assert confusion.dtype == np.int64 and confusion.sum() == len(labels)
    scores = metrics.per_label_scores(confusion)
    assert all(np.all((score >= 0) & (score <= 1)) for score in scores[:3])
    if len(labels):
        names = list(range(5))
        np.testing.assert_array_equal(confusion, sklearn.metrics.confusion_matrix(labels, predictions, labels=names))
        theirs = sklearn.metrics.precision_recall_fscore_support(labels, predictions, labels=names, zero_division=0)
        for mine, other in zip(scores, theirs, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-12)


def test_scores_by_hand():
    scores = metrics.per_label_scores(np.array([[3, 1, 0], [0, 0, 2], [0, 0, 0]]))
    assert scores.precision.tolist() == [1, 0, 0]
    assert scores.recall.tolist() == [0.75, 0, 0]
    np.testing.assert_allclose(scores.f1, [6 / 7, 0, 0])
    assert scores.support.tolist() == [4, 2, 0]


def test_confusion_matrix_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        metrics.confusion_matrix(np.zeros(2, int), np.zeros(3, int), 3)
    with pytest.raises(ValueError, match=r"predictions must be in 0 \.\.\. 2; got 0 \.\.\. 3"):
        metrics.confusion_matrix(np.array([0, 1]), np.array([0, 3]), 3)
    with pytest.raises(ValueError, match=r"labels must be in 0 \.\.\. 2; got -1 \.\.\. 1"):
        metrics.confusion_matrix(np.array([-1, 1]), np.array([0, 1]), 3)


def test_summary_by_hand():
    predictions = make(
        [[0.75, 0.25, 0], [0.25, 0.75, 0], [0.75, 0.25, 0], [0, 1, 0], [0.25, 0.5, 0.25], [0.9, 0.1, 0]],
        [0, 0, 0, 1, 0, 1],
        ["a", "a", "a", "b", "c", "d"],
    )
    summary = metrics.summarize(predictions)
    assert json.loads(json.dumps(summary.to_json()))["tracks"] == 4
    assert (summary.patches, summary.tracks, summary.label_names) == (6, 4, list(NAMES))
    assert summary.patch_accuracy == pytest.approx(3 / 6)
    assert summary.track_accuracy_mean == summary.track_accuracy_vote == 0.5
    assert summary.track_accuracy_mean_interval == intervals.wilson_interval(2, 4)
    assert summary.chance == 0.5
    assert summary.confusion_matrix == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert summary.macro_f1 == 0.5  # rock occurs nowhere and does not count
    assert summary.per_label["blues"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "accuracy": 0.5, "tracks": 2}
    assert summary.per_label["rock"] == {"precision": 0, "recall": 0, "f1": 0, "accuracy": 0, "tracks": 0}
    assert [(w["track_id"], w["label"], w["predicted"]) for w in summary.tracks_wrong] == [
        ("d", "jazz", "blues"),
        ("c", "blues", "jazz"),
    ]
    assert [w["probability"] for w in summary.tracks_wrong] == pytest.approx([0.9, 0.5])


def test_intervals_are_a_bootstrap_over_groups_where_groups_are_known():
    predictions = random_predictions(seed=5)
    by_track = metrics.tracks(predictions)
    groups = {track_id: int(track_id.removeprefix("track ")) % 12 for track_id in by_track.track_ids}
    alone, grouped = metrics.summarize(predictions), metrics.summarize(predictions, groups)
    names = list(dict.fromkeys(groups.values()))
    numbers = np.array([names.index(groups[track_id]) for track_id in by_track.track_ids])
    for way, given in (("mean", by_track.mean_prediction), ("vote", by_track.vote_prediction)):
        drawn = intervals.bootstrap([given == by_track.labels], numbers)
        assert getattr(grouped, f"track_accuracy_{way}_interval") == intervals.interval(drawn[:, 0])
    assert (grouped.interval_method, grouped.num_groups) == ("bootstrap over groups", len(names))
    assert (alone.interval_method, alone.num_groups) == ("Wilson over tracks", None)
    same = ("track_accuracy_mean", "track_accuracy_vote", "macro_f1", "tracks_wrong")
    assert all(getattr(alone, name) == getattr(grouped, name) for name in same)


@pytest.mark.parametrize(
    ("tracks", "wrong", "num_groups", "method"),
    [
        (5, 2, 1, "Wilson"),
        (27, 4, 9, "Wilson"),
        (20, 0, 20, "Wilson"),
        (20, 20, 20, "Wilson"),
        (20, 1, 10, "bootstrap"),
    ],
)
def test_few_or_equal_groups_are_the_trials_of_wilsons_interval(tracks, wrong, num_groups, method):
    labels = np.zeros(tracks, np.int32)
    ids = [str(number) for number in range(tracks)]
    predictions = make(np.eye(3)[(np.arange(tracks) < wrong).astype(int)], labels, ids)
    found = metrics.summarize(predictions, {name: int(name) % num_groups for name in ids})
    assert (found.interval_method, found.num_groups) == (f"{method} over groups", num_groups)
    low, high = found.track_accuracy_mean_interval
    assert low < high
    if method == "Wilson":
        assert (low, high) == pytest.approx(intervals.wilson_interval((1 - wrong / tracks) * num_groups, num_groups))


def test_summary_equals_scikit_learn():
    predictions = random_predictions(seed=3)
    summary, by_track = metrics.summarize(predictions), metrics.tracks(predictions)
    truth, guess = by_track.labels, by_track.mean_prediction
    assert summary.track_accuracy_mean == pytest.approx(sklearn.metrics.accuracy_score(truth, guess))
    assert summary.macro_f1 == pytest.approx(sklearn.metrics.f1_score(truth, guess, average="macro"))
    confidences = [wrong["probability"] for wrong in summary.tracks_wrong]
    assert confidences == sorted(confidences, reverse=True) and len(confidences) == int(np.sum(truth != guess))


def test_a_summary_does_not_depend_on_the_order_of_patches():
    predictions = random_predictions(seed=4)
    summary = metrics.summarize(predictions)
    order = np.argsort(predictions.track_ids, kind="stable")
    ids = [predictions.track_ids[patch] for patch in order]
    sorted_ = metrics.summarize(
        make(predictions.probabilities[order], predictions.labels[order], ids, predictions.label_names)
    )
    assert sorted_.confusion_matrix == summary.confusion_matrix
    assert sorted_.track_accuracy_vote == summary.track_accuracy_vote


def test_evaluation_imports_neither_tensorflow_nor_keras_nor_pyplot():
    code = (
        "import sys, trainer.evaluation.metrics, trainer.reports.plots, trainer.reports.evaluation; "
        "print(sorted({'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
