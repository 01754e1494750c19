import dataclasses
import math
from types import SimpleNamespace

import pytest

from tfrecords.command_line import UserError
from trainer import models
from trainer.cross_validation import prediction_speed
from trainer.cross_validation.entries import entries_of, load_all
from trainer.cross_validation.prediction_speed import patches_of_clip, predictions_per_s


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
    monkeypatch.setattr(prediction_speed, "_CLIPS", 2)
    found = predictions_per_s(entries_of(load_all([cv_dir])))
    assert list(found) == ["time", "frequency"]
    assert all(len(rounds) == 5 and min(rounds) > 0 and math.isfinite(max(rounds)) for rounds in found.values())


def test_without_its_model_an_entry_cannot_be_timed(tmp_path, write_cv):
    cv_dir = write_cv(tmp_path / "cv", {"time": 0.5})
    message = r"^time cannot be timed, which --nopredictions leaves out: .*fold_0: no config.json"
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

    monkeypatch.setattr(prediction_speed, "_round_of", round_of)
    monkeypatch.setattr(prediction_speed.time, "perf_counter", lambda: next(clock))
    found = predictions_per_s([SimpleNamespace(name=name) for name in ("a b c", "ab")])
    assert calls == ["a b c", "ab"] * 6
    assert found == {"a b c": [64 / 5, 64 / 50, 64 / 5, 64 / 5, 64 / 5], "ab": [64 / 2] * 5}
