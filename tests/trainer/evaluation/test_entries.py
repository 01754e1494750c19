import dataclasses
import json
import logging
import math
from types import SimpleNamespace

import pytest

from tfrecords.common.command_line import UserError
from trainer import models
from trainer.evaluation import entries
from trainer.evaluation.cross_validation import CrossValidation
from trainer.evaluation.entries import Finished, common_tracks, entries_of, load_all, patches_of_clip, predictions_per_s
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
    message = (
        rf"^{one} and {other} both have time, trained with the same settings; leave one of them out of `job_dirs`$"
    )
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
    with pytest.raises(UserError, match=f"^{one} and {other} cannot be compared: {words} `job_dirs` takes cross-valid"):
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
    with pytest.raises(UserError, match=rf"^{tmp_path}: no results.json, so no finished cross-validation; run "):
        Finished.load(tmp_path)
    cv_dir = write_cv(tmp_path / "cv", MODELS)
    # As after a kill between the two files.
    results = json.loads((cv_dir / "results.json").read_text())
    del results["models"]["time"]
    (cv_dir / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"predictions.npz and results.json are not of the same trainings; the command"):
        Finished.load(cv_dir)


def test_a_clip_is_as_many_patches_as_30_s_give(tiny, job_of):
    front_end = {"sample_rate": 22050, "hop_length": 512, "n_mels": 40}
    job = dataclasses.replace(job_of(tiny.path), front_end=front_end)
    # 1291 frames.
    assert patches_of_clip(job) == 16
    assert patches_of_clip(dataclasses.replace(job, patch_frames=256)) == 5
    assert patches_of_clip(dataclasses.replace(job, patch_frames=5000)) == 1


def test_every_model_is_timed(tiny, job_of, tmp_path, write_cv, monkeypatch):
    cv_dir = write_cv(tmp_path / "cv", {"time": 0.5, "frequency": 0.5})
    for model in ("time", "frequency"):
        job_dir = cv_dir / model / "seed_0" / "fold_0"
        job_dir.mkdir(parents=True)
        job_of(tiny.path, f"--model={model}").save(job_dir)
        models.create(model, num_classes=3, input_shape=(80, 40, 1), filters=2).save(job_dir / "best.keras")
    monkeypatch.setattr(entries, "_CLIPS", 2)
    found = predictions_per_s(entries_of(load_all([cv_dir])))
    assert list(found) == ["time", "frequency"]
    assert all(len(rounds) == 5 and min(rounds) > 0 and math.isfinite(max(rounds)) for rounds in found.values())


@pytest.mark.parametrize(("patch_frames", "patches"), [(80, 16), (256, 5), (5000, 1)])
def test_a_model_has_batches_of_one_size_and_four_of_them(tiny, job_of, monkeypatch, patch_frames, patches):
    sizes = []

    class Model:
        input_shape = (None, 2, 2, 1)

        def predict(self, data, *, batch_size, verbose):
            sizes.append((len(data), batch_size))

    job = dataclasses.replace(
        job_of(tiny.path),
        front_end={"sample_rate": 22050, "hop_length": 512, "n_mels": 40},
        patch_frames=patch_frames,
    )
    monkeypatch.setattr(entries.TrainingJob, "load", lambda job_dir: job)
    monkeypatch.setattr("trainer.evaluation.predictions.load_model", lambda job_dir: Model())
    run = SimpleNamespace(job_dir=lambda cv_dir: cv_dir)
    level = logging.getLogger("tensorflow").level
    monkeypatch.setattr(logging.getLogger("tensorflow"), "setLevel", None)
    found = predictions_per_s([SimpleNamespace(name="a", runs=lambda: [run], finished=SimpleNamespace(cv_dir="cv"))])
    assert list(found) == ["a"]
    # As many as keep TensorFlow from warning of retracing.
    assert set(sizes) == {(64 * patches, 16 * patches)}
    assert logging.getLogger("tensorflow").level == level


def test_without_its_model_an_entry_cannot_be_timed(tmp_path, write_cv):
    cv_dir = write_cv(tmp_path / "cv", {"time": 0.5})
    message = r"^time cannot be timed, which `predictions=false` leaves out: .*fold_0: no config.json"
    with pytest.raises(UserError, match=message):
        predictions_per_s(entries_of(load_all([cv_dir])))


def test_every_model_has_its_turn_in_every_round(monkeypatch):
    calls, clock = [], iter(range(10**6))

    # A model's round takes as many ticks as its name has letters, but for one that was disturbed.
    def round_of(entry):
        def run():
            calls.append(entry.name)
            ticks = 50 if len(calls) == 5 else len(entry.name)
            for _ in range(ticks - 1):
                next(clock)

        return run

    monkeypatch.setattr(entries, "_round_of", round_of)
    monkeypatch.setattr(entries.time, "perf_counter", lambda: next(clock))
    found = predictions_per_s([SimpleNamespace(name=name) for name in ("a b c", "ab")])
    assert calls == ["a b c", "ab"] * 6
    assert found == {"a b c": [64 / 5, 64 / 50, 64 / 5, 64 / 5, 64 / 5], "ab": [64 / 2] * 5}
