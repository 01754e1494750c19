import dataclasses
import json

import pytest

from tfrecords.common.command_line import UserError
from trainer.evaluation.cross_validation import CrossValidation
from trainer.evaluation.entries import Finished, common_tracks, entries_of, load_all
from trainer.evaluation.pooling import PooledPredictions
from trainer.evaluation.saved_predictions import FoldPredictions

MODELS = {"time": 0.5, "black_box": 0.7}


def names(finished):
    return [entry.name for entry in entries_of(finished)]


def change(cv_dir, **fields):
    """Rewrites what was asked for."""
    dataclasses.replace(CrossValidation.load(cv_dir), **fields).save(cv_dir)


def change_pooled(cv_dir, **fields):
    path = cv_dir / "predictions.npz"
    dataclasses.replace(PooledPredictions.load(path), **fields).save(path)


def test_a_name_says_what_differs_and_no_more(tmp_path, write_cv):
    one = write_cv(tmp_path / "one", MODELS, seeds=(0, 3))
    assert names(load_all([one])) == ["time", "black_box"]
    other = write_cv(tmp_path / "other", MODELS, recipe="cbmi2016")
    assert names(load_all([one, other])) == [
        "time, modern",
        "black_box, modern",
        "time, cbmi2016",
        "black_box, cbmi2016",
    ]
    longer = write_cv(tmp_path / "longer", {"time": 0.5}, flags={"epochs": 60})
    assert names(load_all([one, longer])) == ["time, epochs=40", "black_box, epochs=40", "time, epochs=60"]
    assert names(load_all([longer, other])) == ["time, modern", "time, cbmi2016", "black_box, cbmi2016"]


def test_options_of_another_model_are_not_said(tmp_path, write_cv):
    one = write_cv(tmp_path / "one", {"black_box": 0.5})
    other = write_cv(tmp_path / "other", {"time": 0.5}, flags={"model_options": "filters=4", "epochs": 60})
    assert names(load_all([one, other])) == ["black_box, epochs=40", "time, epochs=60"]


def test_flags_of_one_meaning_do_not_differ(tmp_path, write_cv):
    # As one that was saved before a flag was there, and one that was written in another way.
    one = write_cv(tmp_path / "one", {"time": 0.5}, flags={"model_options": "filters=4,filter_frames=30"})
    other = write_cv(
        tmp_path / "other", {"time": 0.5}, flags={"model_options": "filter_frames=30,filters=4", "precision": "float32"}
    )
    message = rf"^{one} and {other} both have time, trained with the same flags; leave one of them out of --job_dirs$"
    with pytest.raises(UserError, match=message):
        entries_of(load_all([one, other]))


def test_a_flag_that_one_was_saved_before_differs_from_another_choice(tmp_path, write_cv):
    old = write_cv(tmp_path / "old", {"time": 0.5})
    asked = CrossValidation.load(old)
    change(old, flags={name: value for name, value in asked.flags.items() if name != "label_smoothing"})
    new = write_cv(tmp_path / "new", {"time": 0.5}, flags={"label_smoothing": 0.1})
    assert names(load_all([old, new])) == ["time, label_smoothing=0.0", "time, label_smoothing=0.1"]


def test_an_entry_knows_its_trainings_and_what_they_took(tmp_path, write_cv):
    cv_dir = write_cv(tmp_path / "one", MODELS, seeds=(0, 3), core_seconds=12.5)
    time, _ = entries_of(load_all([cv_dir]))
    assert [(run.seed, run.fold) for run in time.runs()] == [(0, 0), (0, 1), (3, 0), (3, 1)]
    assert (time.parameters, time.seeds, time.core_seconds()) == (4000, (0, 3), [12.5] * 4)
    path = time.runs()[1].job_dir(cv_dir) / "predictions.npz"
    dataclasses.replace(FoldPredictions.load(path), core_seconds=None).save(path)
    (time.runs()[2].job_dir(cv_dir) / "predictions.npz").unlink()
    assert time.core_seconds() == [12.5, 12.5]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fingerprint": "e" * 64}, "other fingerprints of the dataset;"),
        ({"folds": 3}, "other numbers of folds;"),
    ],
)
def test_another_dataset_is_refused(tmp_path, write_cv, fields, words):
    one, other = (write_cv(tmp_path / name, MODELS) for name in ("one", "other"))
    change(other, **fields)
    with pytest.raises(UserError, match=f"^{one} and {other} cannot be compared: {words} --job_dirs takes cross-valid"):
        load_all([one, other])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (lambda own: {"label_names": own.label_names[::-1]}, "other labels;"),
        (lambda own: {"labels": own.labels[::-1]}, "other labels of tracks;"),
        (lambda own: {"groups": own.groups[::-1], "folds": own.folds[::-1]}, "other groups of tracks, folds of tracks"),
    ],
)
def test_other_tracks_are_refused(tmp_path, write_cv, fields, words):
    one, other = (write_cv(tmp_path / name, MODELS) for name in ("one", "other"))
    change_pooled(other, **fields(PooledPredictions.load(other / "predictions.npz")))
    with pytest.raises(UserError, match=f"cannot be compared: {words}"):
        load_all([one, other])


def test_tracks_that_one_has_no_patch_of_are_not_common(tmp_path, write_cv):
    one, other = (write_cv(tmp_path / name, MODELS) for name in ("one", "other"))
    pooled = PooledPredictions.load(other / "predictions.npz")
    pooled.only(pooled.track_ids[5:1:-1]).save(other / "predictions.npz")
    finished = load_all([one, other])
    assert common_tracks(finished) == list(pooled.track_ids[2:6])
    assert common_tracks(finished[::-1]) == list(pooled.track_ids[5:1:-1])


def test_one_that_is_not_finished_is_refused(tmp_path, write_cv):
    with pytest.raises(UserError, match=rf"^{tmp_path}: no results.json, so no finished cross-validation; run python"):
        Finished.load(tmp_path)
    cv_dir = write_cv(tmp_path / "cv", MODELS)
    # As after a kill between the two files.
    results = json.loads((cv_dir / "results.json").read_text())
    del results["models"]["time"]
    (cv_dir / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"predictions.npz and results.json are not of the same trainings; the command"):
        Finished.load(cv_dir)
