import dataclasses
import logging
import math
from types import SimpleNamespace

import pytest

from tfrecords.common.command_line import UserError
from trainer import models
from trainer.evaluation import entries
from trainer.evaluation.entries import entries_of, load_all, patches_of_clip, predictions_per_s


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

    monkeypatch.setattr(entries, "_round_of", round_of)
    monkeypatch.setattr(entries.time, "perf_counter", lambda: next(clock))
    found = predictions_per_s([SimpleNamespace(name=name) for name in ("a b c", "ab")])
    assert calls == ["a b c", "ab"] * 6
    assert found == {"a b c": [64 / 5, 64 / 50, 64 / 5, 64 / 5, 64 / 5], "ab": [64 / 2] * 5}
