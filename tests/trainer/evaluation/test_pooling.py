import dataclasses

import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer.evaluation import metrics
from trainer.evaluation.cross_validation import Run
from trainer.evaluation.pooling import PooledPredictions, Track, pool, read_tracks

NAMES = ("blues", "jazz", "rock")
TRACKS = {
    "a": Track(0, "x", 0),
    "b \udcff": Track(1, "y", 0),
    "c": Track(2, "\udcff", 1),
    "d": Track(0, "z", 2),
    "e": Track(1, "z", 2),
}


def predictions_of(run, *, patches=2, seed=0):
    """Random predictions of a fold's tracks, the last track first."""
    rng = np.random.default_rng([seed, run.seed, run.fold, len(run.model)])
    own = [track_id for track_id, track in TRACKS.items() if track.fold == run.fold][::-1] * patches
    probabilities = rng.dirichlet(np.ones(3), len(own)).astype(np.float32)
    labels = np.array([TRACKS[track_id].label for track_id in own], np.int32)
    return metrics.Predictions(probabilities, labels, own, NAMES)


def all_runs():
    runs = [Run(model, seed, fold) for model in ("time", "black_box") for seed in (0, 3) for fold in (2, 0, 1)]
    return {run: metrics.tracks(predictions_of(run)) for run in runs}


def test_every_track_is_there_once_with_the_mean_of_its_own_folds_run():
    runs = all_runs()
    pooled = pool(TRACKS, NAMES, runs)
    assert pooled.track_ids == tuple(TRACKS)
    assert (pooled.models, pooled.seeds) == (("time", "black_box"), (0, 3))
    assert (pooled.labels.tolist(), pooled.folds.tolist()) == ([0, 1, 2, 0, 1], [0, 0, 1, 2, 2])
    assert pooled.groups == ("x", "y", "\udcff", "z", "z")
    assert pooled.group_numbers.tolist() == [0, 1, 2, 3, 3]
    assert pooled.probabilities.shape == (2, 2, 5, 3) and pooled.probabilities.dtype == np.float32
    for run, by_track in runs.items():
        for place, track_id in enumerate(by_track.track_ids):
            found = pooled.probabilities[pooled.models.index(run.model), pooled.seeds.index(run.seed)]
            np.testing.assert_allclose(
                found[list(TRACKS).index(track_id)], by_track.mean_probabilities[place], rtol=1e-6
            )
    np.testing.assert_allclose(pooled.over_seeds, pooled.probabilities.mean(axis=1), rtol=1e-6)


def changed(by_track, kept, label=None):
    """Of some tracks only, or with other labels."""
    labels = by_track.labels[kept] if label is None else np.full(len(kept), label, np.int32)
    return dataclasses.replace(
        by_track,
        track_ids=tuple(by_track.track_ids[place] for place in kept),
        labels=labels,
        mean_probabilities=by_track.mean_probabilities[kept],
    )


@pytest.mark.parametrize("change", [{"kept": [0]}, {"kept": [0, 1, 1]}, {"kept": [0, 0]}, {"kept": [0, 1], "label": 2}])
def test_predictions_of_other_tracks_than_the_folds_are_refused(change):
    runs = all_runs()
    run = Run("time", 3, 2)
    runs[run] = changed(runs[run], **change)
    with pytest.raises(
        UserError,
        match=r"^time, seed 3, fold 2: .* not the 2 of the fold; delete its time/seed_3/fold_2/predictions.npz",
    ):
        pool(TRACKS, NAMES, runs)


def test_predictions_of_another_folds_tracks_are_refused():
    runs = all_runs()
    runs[Run("time", 0, 0)] = runs[Run("time", 0, 2)]
    with pytest.raises(UserError, match=r"^time, seed 0, fold 0"):
        pool(TRACKS, NAMES, runs)


def test_a_run_that_is_missing_is_refused():
    runs = all_runs()
    del runs[Run("black_box", 3, 1)]
    with pytest.raises(ValueError, match="every model, seed and fold must have a run"):
        pool(TRACKS, NAMES, runs)


def test_only_some_tracks_in_another_order():
    pooled = pool(TRACKS, NAMES, all_runs())
    some = pooled.only(["e", "a"])
    assert (some.track_ids, some.groups, some.labels.tolist(), some.folds.tolist()) == (
        ("e", "a"),
        ("z", "x"),
        [1, 0],
        [2, 0],
    )
    np.testing.assert_array_equal(some.probabilities, pooled.probabilities[:, :, [4, 0]])
    assert some.group_numbers.tolist() == [0, 1]
    with pytest.raises(KeyError):
        pooled.only(["f"])


def test_what_is_saved_is_what_is_loaded(tmp_path):
    pooled = pool(TRACKS, NAMES, all_runs())
    pooled.save(tmp_path / "predictions.npz")
    found = PooledPredictions.load(tmp_path / "predictions.npz")
    for field in dataclasses.fields(PooledPredictions):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(pooled, field.name))
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as arrays:
        assert arrays["track_ids"][1] == b"b \xff" and arrays["seeds"].dtype == np.int64
    (tmp_path / "predictions.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"not the predictions of a cross-validation .* writes it again$"):
        PooledPredictions.load(tmp_path / "predictions.npz")


def test_tracks_come_from_the_records_without_those_that_give_no_patch(tmp_path, write_dataset):
    data = write_dataset(tmp_path, parts=("fold_0", "fold_1", "fold_2"), frames=(5, 9), mel_bands=4, segments=2)
    tracks = read_tracks(data.manifest, data.path, patch_frames=8)
    expected = {
        record.track_id: Track(record.label, record.group, fold)
        for fold, records in enumerate(data.records.values())
        for record in records
        if len(record.log_mel) >= 8
    }
    assert list(tracks.items()) == list(expected.items())
    assert 0 < len(tracks) < 18


def test_a_track_in_two_folds_is_refused(tmp_path, write_dataset):
    data = write_dataset(tmp_path, parts=("fold_0", "fold_1", "fold_2"), frames=(5, 9), mel_bands=4)
    for own, others in zip(data.shards("fold_1"), data.shards("fold_0"), strict=True):
        own.write_bytes(others.read_bytes())
    with pytest.raises(UserError, match="has records of several folds, labels or groups"):
        read_tracks(data.manifest, data.path, patch_frames=5)
