import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tools.json_edits import edited_json
from tools.tamper import wrongly_accepted
from trainer.config import RECIPES
from trainer.train import make_job
from trainer.training_job import (
    CONFIG_FILE,
    HISTORY_FILE,
    PartChoice,
    TrainingJob,
    check_patches,
    choose_parts,
    count_folds,
    lock_job_dir,
    read_history,
    write_history,
)


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
        ("--patch_frames=0", "`patch_frames` must be from 1 to 1000000000, got 0"),
        ("--batch_size=-1", "`batch_size` must be from 1 to 1000000000, got -1"),
        ("--epochs=0", "`epochs` must be from 1 to 1000000000, got 0"),
        ("--patience=0", "`patience` must be from 1 to 1000000000, got 0"),
        ("--learning_rate=0", "`learning_rate` must be above 0, got 0"),
        ("--learning_rate=-1", "`learning_rate` must be above 0, got -1"),
        ("--learning_rate=nan", "`learning_rate` must be above 0, got nan"),
        ("--learning_rate=inf", "`learning_rate` must be a finite number, got inf"),
        ("--warmup=1", "`warmup` must be from 0 to below 1, got 1"),
        ("--warmup=nan", "`warmup` must be from 0 to below 1, got nan"),
        ("--label_smoothing=-0.1", "`label_smoothing` must be from 0 to below 1, got -0.1"),
        ("--weight_average=1", "`weight_average` must be from 0 to below 1, got 1"),
        ("--patch_mode=warp", "`patch_mode` must be one of windows, random, resize, got 'warp'"),
        ("--seed=-1", "`seed` must be from 0 to 4294967295, got -1"),
        ("--seed=4294967296", "`seed` must be from 0 to 4294967295, got 4294967296"),
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
    with pytest.raises(UserError, match=r"^`patience` .* `recipe=augmented`, which keeps its last epoch; got 3$"):
        job_of("--patience=3")
    with pytest.raises(UserError, match=r"the recipe modern needs a part for validation"):
        dataclasses.replace(job, recipe="modern", patience=3)


def test_rare_labels_are_made_up_for_once(job_of, tiny):
    weights, sampling = "--class_weights=balanced", "--sampling=balanced"
    assert job_of(tiny.path, weights).soft_labels and not job_of(tiny.path, sampling).soft_labels
    assert "labels weighted" in job_of(tiny.path, weights).described
    with pytest.raises(UserError, match="take one of them"):
        job_of(tiny.path, weights, sampling)
    with pytest.raises(UserError, match=r"`sampling=balanced` is not for `patch_mode=resize`"):
        job_of(tiny.path, sampling, "--patch_mode=resize")
    with pytest.raises(UserError, match=r"`class_weights` must be one of equal, balanced, got 'rare'"):
        job_of(tiny.path, "--class_weights=rare")


@pytest.mark.parametrize(("metric", "score"), [("val_macro_f1", "macro_f1"), ("val_accuracy", None)])
def test_another_metric_may_choose_the_epoch(job_of, tiny, metric, score):
    job = job_of(tiny.path, f"--checkpoint_metric={metric}")
    assert (job.rules.checkpoint_metric, job.macro_score) == (metric, score)
    rows = [{"loss": 1, "val_loss": 1, metric: value} for value in (0.2, 0.6, 0.5)]
    assert job.rules.best_epoch(rows) == 2
    assert len(job_of(tiny.path).differences(job)) == 1
    with pytest.raises(UserError, match=r"`checkpoint_metric` does not apply to `recipe=augmented`"):
        job_of(tiny.path, "--recipe=augmented", f"--checkpoint_metric={metric}", "--patch_frames=80")


def test_a_rate_that_only_falls_has_no_warmup(job_of, tiny):
    with pytest.raises(UserError, match=r"^`warmup` does not apply to `recipe=cbmi2016`, .*; got 0.1$"):
        job_of(tiny.path, "--recipe=cbmi2016", "--warmup=0.1")


def test_a_job_that_was_saved_before_there_were_recipes(job_of, tiny, tmp_path):
    job = job_of(tiny.path)
    job.save(tmp_path)
    data = json.loads((tmp_path / CONFIG_FILE).read_text())
    newer = (
        "warmup",
        "label_smoothing",
        "weight_average",
        "patch_mode",
        "class_weights",
        "sampling",
        "checkpoint_metric",
    )
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


@pytest.fixture(scope="module")
def folds(tmp_path_factory, write_dataset):
    """Twelve folds, so that order by name is not order by number."""
    names = [f"fold_{number}" for number in range(12)]
    path = tmp_path_factory.mktemp("folds")
    return write_dataset(path, parts=names, frames=(5, 9), mel_bands=2, tracks_per_label=1).manifest


@pytest.fixture(scope="module")
def two(tmp_path_factory, write_dataset):
    return write_dataset(tmp_path_factory.mktemp("two"), parts=("train", "test"), frames=(5, 9), mel_bands=2).manifest


def without(*numbers):
    return tuple(f"fold_{number}" for number in range(12) if number not in numbers)


@pytest.mark.parametrize(
    ("flags", "valid", "test"),
    [
        ({}, 10, 11),
        ({"test_fold": 2}, 1, 2),
        ({"test_fold": 0}, 11, 0),
        ({"valid_fold": 0}, 0, 11),
        ({"test_fold": 0, "valid_fold": 5}, 5, 0),
        ({"test_fold": 11, "valid_fold": 10}, 10, 11),
    ],
)
def test_folds(folds, flags, valid, test):
    chosen = choose_parts(folds, **flags)
    assert chosen == PartChoice(without(valid, test), (f"fold_{valid}",), (f"fold_{test}",))
    assert len(chosen.train) == 10


@pytest.mark.parametrize(
    ("flags", "valid", "test"),
    [
        ({}, (), 11),
        ({"test_fold": 0}, (), 0),
        ({"valid_fold": 3}, (3,), 11),
        ({"test_fold": 3, "valid_fold": 2}, (2,), 3),
    ],
)
def test_what_would_validate_trains_where_nothing_is_chosen_unless_it_is_named(folds, flags, valid, test):
    chosen = choose_parts(folds, **flags, validates=False)
    validating = tuple(f"fold_{number}" for number in valid)
    assert chosen == PartChoice(without(*valid, test), validating, (f"fold_{test}",))


def test_every_fold_tests_once_and_validates_once(folds):
    choices = [choose_parts(folds, test_fold=number) for number in range(12)]
    assert {choice.test for choice in choices} == {choice.valid for choice in choices}
    assert len({choice.test for choice in choices}) == 12


def test_parts_by_name_whatever_their_order(tmp_path, write_dataset):
    manifest = write_dataset(tmp_path / "d", parts=("test", "train", "valid"), frames=(5, 9), mel_bands=2).manifest
    assert choose_parts(manifest) == PartChoice(("train",), ("valid",), ("test",))
    assert choose_parts(manifest, validates=False) == PartChoice(("train", "valid"), (), ("test",))
    for flags in ({"test_fold": 0}, {"valid_fold": 0}):
        with pytest.raises(UserError, match=r"^`(test|valid)_fold` needs a dataset of folds"):
            choose_parts(manifest, **flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"test_fold": 12}, "^`test_fold` must be from 0 to 11, got 12"),
        ({"test_fold": -1}, "^`test_fold` must be from 0 to 11, got -1"),
        ({"valid_fold": 12}, "^`valid_fold` must be from 0 to 11, got 12"),
        ({"valid_fold": 11}, "must differ from `valid_fold`, both are 11"),
        ({"test_fold": 0, "valid_fold": 0}, "must differ from `valid_fold`, both are 0"),
    ],
)
def test_folds_that_cannot_be(folds, flags, message):
    with pytest.raises(UserError, match=message):
        choose_parts(folds, **flags)


def test_two_parts_are_too_few(two):
    with pytest.raises(UserError, match=r"needs folds, or the parts train, valid and test; .* has train, test; "):
        choose_parts(two)
    with pytest.raises(UserError, match="`recipe=augmented`"):
        choose_parts(two)
    assert choose_parts(two, validates=False) == PartChoice(("train",), (), ("test",))
    with pytest.raises(UserError, match=r"^`(test|valid)_fold` needs a dataset of folds"):
        choose_parts(two, test_fold=0, validates=False)


@pytest.mark.parametrize(
    "names", [("train", "validation", "test"), ("a", "b", "c"), ("fold_0", "fold_1", "fold_2", "rest"), ("all",)]
)
def test_parts_of_other_names_are_not_guessed_at(tmp_path, write_dataset, names):
    manifest = write_dataset(tmp_path / "d", parts=names, frames=(5, 9), mel_bands=2).manifest
    told = f"has {', '.join(names)}; name the lists train.txt, valid.txt, test.txt$"
    for flags in ({}, {"test_fold": 0}):
        with pytest.raises(UserError, match=told):
            choose_parts(manifest, **flags)


def test_two_folds_are_too_few(tmp_path, write_dataset):
    manifest = write_dataset(tmp_path / "d", parts=("fold_0", "fold_1"), frames=(5, 9), mel_bands=2).manifest
    with pytest.raises(UserError, match=r"needs three folds or more; the dataset has fold_0, fold_1$"):
        choose_parts(manifest)
    # One to train on and one to test on are enough where none chooses.
    assert choose_parts(manifest, validates=False) == PartChoice(("fold_0",), (), ("fold_1",))
    with pytest.raises(UserError, match="three folds or more"):
        choose_parts(manifest, valid_fold=0, validates=False)
    one = write_dataset(tmp_path / "one", parts=("fold_0",), frames=(5, 9), mel_bands=2).manifest
    with pytest.raises(UserError, match=r"needs two folds or more; the dataset has fold_0$"):
        choose_parts(one, validates=False)


def test_parts_without_a_patch_are_refused(two):
    check_patches(two, ["test"], "training", patch_frames=5)
    with pytest.raises(
        UserError, match="train, test should be for training but hold no record of 10 frames; lower `patch_f"
    ):
        check_patches(two, ["train", "test"], "training", patch_frames=10)


def test_folds_are_counted_and_nothing_else_is(folds, two):
    assert count_folds(folds) == 12
    with pytest.raises(UserError, match=r"needs a dataset of folds; this one has train, test; write it with .* `folds"):
        count_folds(two)


ROOT = Path(__file__).parents[2]


def test_history(tmp_path):
    assert read_history(tmp_path) == {}
    path = tmp_path / HISTORY_FILE
    path.write_text("")
    assert read_history(tmp_path) == {}
    path.write_text("epoch,loss,val_loss\n0,1.5,nan\n1,0.25,2.0\n")
    history = read_history(tmp_path)
    assert history["loss"] == [1.5, 0.25] and history["epoch"] == [0, 1] and history["val_loss"][1] == 2
    assert np.isnan(history["val_loss"][0])


@pytest.mark.parametrize("torn", ["1,0.25,2", "1,0.", "1", ""])
def test_an_epoch_that_was_not_written_to_its_end_is_left_out(tmp_path, torn):
    (tmp_path / HISTORY_FILE).write_text(f"epoch,loss,val_loss\n0,1.5,1.25\n{torn}")
    assert read_history(tmp_path) == {"epoch": [0], "loss": [1.5], "val_loss": [1.25]}


@pytest.mark.parametrize("text", ["epoch,loss\n0,much\n", "epoch,loss\n0\n", "epoch\n0,1\n", b"\xff\n\xff\n"])
def test_a_damaged_history(tmp_path, text):
    path = tmp_path / HISTORY_FILE
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=f"^{path}: not the history of a training"):
        read_history(tmp_path)


def test_history_is_written_as_it_is_read(tmp_path):
    write_history(tmp_path, [])
    assert read_history(tmp_path) == {}
    write_history(tmp_path, [{"val_loss": 0.1 + 0.2, "loss": 1.5}, {"val_loss": 2.0, "loss": 0.25}])
    assert (tmp_path / HISTORY_FILE).read_text().splitlines()[0] == "epoch,loss,val_loss"
    assert read_history(tmp_path) == {"epoch": [0, 1], "loss": [1.5, 0.25], "val_loss": [0.1 + 0.2, 2]}


def test_a_directory_is_claimed_by_one_process_until_it_ends(tmp_path):
    imports = "import pathlib, time\nfrom trainer.training_job import lock_job_dir\n"
    block = f"with lock_job_dir(pathlib.Path({str(tmp_path)!r})):\n print('claimed', flush=True)\n time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", imports + block], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "claimed\n"
    with pytest.raises(UserError, match=f"^{tmp_path}: another process is writing there$"), lock_job_dir(tmp_path):
        pass
    process.kill()
    process.communicate()
    # As a process leaves it that is killed while it writes.
    (tmp_path / ".tmp-01234567-state.npz").touch()
    with lock_job_dir(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
