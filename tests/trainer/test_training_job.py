import dataclasses
import json
import random

import numpy as np
import pytest

from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tools.json_edits import edited_json
from tools.tamper import wrongly_accepted
from trainer.config import RECIPES
from trainer.train import make_job
from trainer.training_job import CONFIG_FILE, TrainingJob


def test_a_job_is_read_as_it_was_saved(job_of, tiny, tmp_path):
    job = job_of(
        tiny.path, "--seed=4294967295", "--learning_rate=0.1", "--recipe=cbmi2016", "--model_options=filters=3"
    )
    job.save(tmp_path)
    found = TrainingJob.load(tmp_path)
    for field in dataclasses.fields(TrainingJob):
        if field.name != "statistics":
            assert getattr(found, field.name) == getattr(job, field.name), field.name
    assert found.statistics.count == job.statistics.count
    np.testing.assert_array_equal(found.statistics.mean, job.statistics.mean)
    np.testing.assert_array_equal(found.statistics.m2, job.statistics.m2)
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG_FILE]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--patch_frames=0", "--patch_frames must be at least 1, got 0"),
        ("--batch_size=-1", "--batch_size must be at least 1, got -1"),
        ("--epochs=0", "--epochs must be at least 1, got 0"),
        ("--patience=0", "--patience must be at least 1, got 0"),
        ("--learning_rate=0", "--learning_rate must be above 0, got 0"),
        ("--learning_rate=-1", "--learning_rate must be above 0, got -1"),
        ("--learning_rate=nan", "--learning_rate must be above 0, got nan"),
        ("--learning_rate=inf", "--learning_rate must be above 0, got inf"),
        ("--warmup=1", "--warmup must be from 0 to below 1, got 1"),
        ("--warmup=nan", "--warmup must be from 0 to below 1, got nan"),
        ("--label_smoothing=-0.1", "--label_smoothing must be from 0 to below 1, got -0.1"),
        ("--weight_average=1", "--weight_average must be from 0 to below 1, got 1"),
        ("--patch_mode=warp", "--patch_mode must be one of windows, random, resize, got 'warp'"),
        ("--seed=-1", "--seed must be from 0 to 4294967295, got -1"),
        ("--seed=4294967296", "--seed must be from 0 to 4294967295, got 4294967296"),
    ],
)
def test_values_out_of_range(job_of, tiny, flag, message):
    with pytest.raises(UserError, match=message):
        job_of(tiny.path, flag)


def test_a_recipe_gives_what_the_flags_leave_open(tiny, train_flags):
    def numbers(*arguments):
        job = make_job(train_flags(f"--data_dir={tiny.path}", "--model=time", *arguments))
        return job.recipe, job.learning_rate, job.batch_size, job.epochs, job.patience

    assert numbers() == ("modern", 1e-3, 64, 40, 8)
    assert numbers("--recipe=cbmi2016") == ("cbmi2016", 0.01, 10, 500, None)
    own = ("--learning_rate=0.5", "--batch_size=3", "--epochs=7")
    assert numbers("--recipe=cbmi2016", *own) == ("cbmi2016", 0.5, 3, 7, None)
    assert numbers(*own, "--patience=2") == ("modern", 0.5, 3, 7, 2)


def test_a_recipe_that_keeps_the_last_epoch(tiny, train_flags):
    def job_of(*arguments):
        flags = [f"--data_dir={tiny.path}", "--model=time", "--recipe=augmented", "--patch_frames=80", *arguments]
        return make_job(train_flags(*flags))

    job = job_of()
    assert job.augmentation != Augmentation()
    expected = RECIPES["augmented"].settings | {"patch_frames": 80}
    assert {name: getattr(job, name) for name in expected} == expected
    assert (job.parts.train, job.parts.valid, job.patience) == (("train", "valid"), (), None)
    assert job.statistics.count == tiny.manifest.statistics(["train", "valid"]).count
    off = ("--warmup=0", "--label_smoothing=0", "--weight_average=0", "--augment=", "--patch_mode=windows")
    plain = job_of(*off)
    assert (plain.warmup, plain.label_smoothing, plain.weight_average, plain.patch_mode) == (0, 0, 0, "windows")
    assert plain.augmentation == Augmentation() and not plain.soft_labels
    assert job_of(*off, "--label_smoothing=0.1").soft_labels and job_of(*off, "--augment=mixup_alpha=1").soft_labels
    assert job.described.endswith("the last epoch kept") and "momentum 0.99" in job.described
    with pytest.raises(UserError, match=r"^--patience .* recipe augmented, which keeps its last epoch; got 3$"):
        job_of("--patience=3")
    with pytest.raises(UserError, match=r"the recipe modern needs a part for validation"):
        dataclasses.replace(job, recipe="modern", patience=3)


def test_a_rate_that_only_falls_has_no_warmup(job_of, tiny):
    with pytest.raises(UserError, match=r"^--warmup does not apply to the recipe cbmi2016, .*; got 0.1$"):
        job_of(tiny.path, "--recipe=cbmi2016", "--warmup=0.1")


def test_a_job_that_was_saved_before_there_were_recipes(job_of, tiny, tmp_path):
    job = job_of(tiny.path)
    job.save(tmp_path)
    data = json.loads((tmp_path / CONFIG_FILE).read_text())
    newer = ("warmup", "label_smoothing", "weight_average", "patch_mode")
    for name in ("recipe", "model_options", "init_from", "precision", *newer):
        del data[name]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(data))
    assert TrainingJob.load(tmp_path).differences(job) == []


def test_a_directory_without_a_job(tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path}: no config.json, so no trained model"):
        TrainingJob.load(tmp_path)
    with pytest.raises(UserError, match=r"no config\.json"):
        TrainingJob.load(tmp_path / "nowhere")


def test_a_configuration_that_cannot_be_read_is_told_as_that(tmp_path):
    (tmp_path / CONFIG_FILE).mkdir()
    with pytest.raises(UserError, match=f"^{tmp_path}/config.json cannot be read: Is a directory$"):
        TrainingJob.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        "garbage",
        "[]",
        "null",
        "{}",
        b"\xff{}",
        {"parts": []},
        {"parts": {"train": ["a"]}},
        {"labels": 3},
        {"statistics": {}},
        {"statistics": []},
        {"epochs": 0},
        {"epochs": "many"},
        {"learning_rate": None},
        {"unknown": 1},
        {"recipe": "cbmi"},
        {"patience": None},
        {"init_from": ["a", "b"]},
    ],
)
def test_a_damaged_configuration(job_of, tiny, tmp_path, change):
    job_of(tiny.path).save(tmp_path)
    path = tmp_path / CONFIG_FILE
    if isinstance(change, dict):
        change = json.dumps(json.loads(path.read_text()) | change)
    path.write_bytes(change if isinstance(change, bytes) else change.encode())
    with pytest.raises(UserError) as error:
        TrainingJob.load(tmp_path)
    assert str(error.value).startswith(f"{path}: not a training job's configuration (")
    assert len(str(error.value).splitlines()) == 1


def test_jobs_differ_in_what_changes_a_training(job_of, tiny):
    job = job_of(tiny.path)
    assert job.differences(job) == []
    assert job.differences(dataclasses.replace(job, data_dir="/elsewhere", versions={"keras": "1"})) == []
    other = dataclasses.replace(job, fingerprint="e" * 64, seed=3, labels=("a", "b"), batch_size=9)
    assert job.differences(other) == ["batch_size 4, not 9", "seed 0, not 3", "other fingerprint", "other labels"]
    other = job_of(tiny.path, "--recipe=cbmi2016", "--model_options=filter_frames=50")
    assert job.differences(other) == ["other model_options", "recipe modern, not cbmi2016", "patience 8, not None"]


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("statistics", "mean", 0), float("nan")),
        (("statistics", "m2", 0), -1.0),
        (("labels", 0), "jazz"),
        (("front_end", "n_mels"), 3),
        (("batch_size",), 2.0),
        (("model_options",), {"filters": "4"}),
        (("augmentation", "gain_db"), True),
        (("seed",), 10**30),
    ],
)
def test_one_value_that_cannot_be(job_of, tiny, tmp_path, path, to):
    job_of(tiny.path).save(tmp_path)
    data = json.loads((tmp_path / CONFIG_FILE).read_text())
    spot = data
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = to
    (tmp_path / CONFIG_FILE).write_text(json.dumps(data))
    with pytest.raises(UserError, match="not a training job's configuration"):
        TrainingJob.load(tmp_path)


def test_an_edited_configuration_is_taken_or_refused_in_one_line(job_of, tiny, tmp_path):
    job_of(tiny.path).save(tmp_path)
    path = tmp_path / CONFIG_FILE
    original, rng, refused = path.read_text(), random.Random(0), 0
    for _ in range(300):
        path.write_text(edited_json(original, rng), "utf-8", "surrogatepass")
        try:
            TrainingJob.load(tmp_path)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
        assert wrongly_accepted(path) is None, path.read_text()[:3000]
    assert 150 < refused < 300
