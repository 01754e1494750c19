import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer import config, cross_validate, evaluate, train
from trainer.config import RECIPES, augmentation_text
from trainer.evaluation import folds
from trainer.evaluation.cross_validation import CROSS_VALIDATION_FILE, Run
from trainer.evaluation.pooling import PooledPredictions
from trainer.evaluation.saved_predictions import PREDICTIONS_FILE, FoldPredictions
from trainer.training_job import CONFIG_FILE

ROOT = Path(__file__).parents[2]
FLAGS = ["--model=time", "--epochs=1", "--seeds=2", "--processes=2", "--batch_size=8"]


def start(data, cv_dir, *more, cores=2):
    """On so many cores: as many workers have one thread each, and sum in one order, whatever the machine has."""
    command = [sys.executable, "-m", "trainer.cross_validate", f"--data_dir={data}", f"--job_dir={cv_dir}", *more]
    own = sorted(os.sched_getaffinity(0))[:cores]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, own),
    )


def run(data, cv_dir, *more, cores=2):
    process = start(data, cv_dir, *more, cores=cores)
    said, errors = process.communicate()
    return process.returncode, said, errors


def main(*arguments):
    values = copy.deepcopy(cross_validate.FLAGS)
    values.set_gnu_getopt(True)
    cross_validate.main(values, values(["cross_validate", *map(str, arguments)])[1:])


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_dataset):
    parts = ("fold_0", "fold_1", "fold_2")
    return write_dataset(tmp_path_factory.mktemp("folds"), parts=parts, frames=(80, 170))


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    """Directory of a cross-validation that was never stopped, and what it printed; not to be changed by a test."""
    cv_dir = tmp_path_factory.mktemp("unbroken") / "CV"
    status, said, errors = run(data.path, cv_dir, *FLAGS)
    assert (status, errors) == (0, "")
    return cv_dir, said


def test_what_comes_out(unbroken, data):
    cv_dir, said = unbroken
    assert sorted(path.name for path in cv_dir.iterdir()) == [
        "cross_validation.json",
        "predictions.npz",
        "report.html",
        "results.json",
        "results.md",
        "time",
    ]
    asked = json.loads((cv_dir / CROSS_VALIDATION_FILE).read_text())
    assert (asked["flags"]["recipe"], asked["flags"]["patience"]) == ("modern", 8)
    assert (asked["models"], asked["seeds"], asked["folds"], asked["flags"]["epochs"]) == (["time"], [0, 1], 3, 1)
    results = json.loads((cv_dir / "results.json").read_text())
    assert results["command"] == (
        f"python -m trainer.cross_validate --data_dir={data.path} --job_dir={cv_dir} --model=time --seeds=2 "
        "--processes=2 --epochs=1 --batch_size=8"
    )
    assert results["command"] in (cv_dir / "results.md").read_text()
    lines = said.splitlines()
    assert lines[0] == "6 of 6 trainings to do, 2 at a time, threads for each: 1"
    assert [line.split(":")[0] for line in lines[1:7]] == [f"{number} of 6" for number in range(1, 7)]
    assert lines[-2:] == [f"results: {cv_dir}/results.md", f"report: {cv_dir}/report.html"]


def test_each_run_is_a_training_of_its_own_fold(unbroken):
    cv_dir, _ = unbroken
    for fold, (valid, trained) in enumerate([("fold_2", "fold_1"), ("fold_0", "fold_2"), ("fold_1", "fold_0")]):
        for seed in (0, 1):
            config = json.loads((Run("time", seed, fold).job_dir(cv_dir) / CONFIG_FILE).read_text())
            assert config["parts"] == {"train": [trained], "valid": [valid], "test": [f"fold_{fold}"]}
            assert (config["seed"], config["epochs"], config["batch_size"]) == (seed, 1, 8)


def test_pooled_predictions_are_complete_and_never_of_a_trained_track(unbroken, data):
    cv_dir, _ = unbroken
    pooled = PooledPredictions.load(cv_dir / PREDICTIONS_FILE)
    records = [record for part in data.records.values() for record in part]
    assert pooled.track_ids == tuple(record.track_id for record in records)
    assert pooled.groups == tuple(record.group for record in records)
    assert pooled.probabilities.shape == (1, 2, 18, 3)
    np.testing.assert_allclose(pooled.probabilities.sum(axis=3), 1, atol=1e-5)
    for fold in range(3):
        job_dir = Run("time", 1, fold).job_dir(cv_dir)
        of_run = FoldPredictions.load(job_dir / PREDICTIONS_FILE).predictions
        trained = json.loads((job_dir / CONFIG_FILE).read_text())["parts"]
        seen = {record.track_id for part in trained["train"] + trained["valid"] for record in data.records[part]}
        tested = {track_id for track_id, place in zip(pooled.track_ids, pooled.folds, strict=True) if place == fold}
        assert set(of_run.track_ids) == tested and not tested & seen
        track = pooled.track_ids.index(of_run.track_ids[0])
        own = [p for p, name in zip(of_run.probabilities, of_run.track_ids, strict=True) if name == of_run.track_ids[0]]
        np.testing.assert_allclose(pooled.probabilities[0, 1, track], np.mean(own, axis=0), atol=1e-6)


def test_a_run_can_be_evaluated_as_any_job(unbroken, tmp_path):
    cv_dir, _ = unbroken
    summary = evaluate.evaluate(Run("time", 1, 2).job_dir(cv_dir), tmp_path).to_json()
    (row,) = (
        row
        for row in json.loads((cv_dir / "results.json").read_text())["models"]["time"]["runs"]
        if (row["seed"], row["fold"]) == (1, 2)
    )
    assert (row["tracks"], row["patches"]) == (summary["tracks"], summary["patches"])
    assert (row["track_accuracy"], row["patch_accuracy"]) == (summary["track_accuracy_mean"], summary["patch_accuracy"])


def wait_for(process, condition):
    deadline = time.monotonic() + 600
    while process.poll() is None and not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None and condition()


def times(paths):
    return {path: path.stat().st_mtime_ns for path in paths}


@pytest.mark.slow
def test_one_that_was_killed_goes_on_to_the_very_same_results(unbroken, data, tmp_path):
    whole, _ = unbroken
    cv_dir = tmp_path / "CV"
    process = start(data.path, cv_dir, *FLAGS, "--save_every_s=0")
    wait_for(process, lambda: list(cv_dir.glob("time/*/*/predictions.npz")))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = times(cv_dir.glob("time/*/*/predictions.npz"))
    assert 1 <= len(kept) < 6
    assert not (cv_dir / "results.json").exists()
    # In another number of processes, which have as many threads.
    status, said, errors = run(data.path, cv_dir, *FLAGS, "--processes=1", cores=1)
    assert (status, errors) == (0, "")
    assert said.startswith(f"{6 - len(kept)} of 6 trainings to do")
    assert times(kept) == kept
    with np.load(cv_dir / PREDICTIONS_FILE) as found, np.load(whole / PREDICTIONS_FILE) as expected:
        assert set(found.files) == set(expected.files)
        for name in expected.files:
            np.testing.assert_array_equal(found[name], expected[name])
    results, expected = (json.loads((path / "results.json").read_text()) for path in (cv_dir, whole))
    assert results.pop("command") != expected.pop("command")
    assert results == expected


def test_a_finished_one_only_writes_its_results_again(unbroken, data, tmp_path, capsys):
    cv_dir = shutil.copytree(unbroken[0], tmp_path / "CV")
    before = (cv_dir / "results.json").read_bytes()
    runs = times((cv_dir / "time").rglob("*"))
    for name in ("results.json", "results.md", "predictions.npz"):
        (cv_dir / name).unlink()
    main(f"--data_dir={data.path}", f"--job_dir={cv_dir}", *FLAGS)
    assert capsys.readouterr().out.startswith("all 6 trainings are done\n")
    again = json.loads((cv_dir / "results.json").read_text())
    assert again | {"command": ""} == json.loads(before) | {"command": ""}
    assert times((cv_dir / "time").rglob("*")) == runs


def test_a_different_one_in_the_same_directory_is_refused(unbroken, data):
    cv_dir, _ = unbroken
    before = (cv_dir / CROSS_VALIDATION_FILE).read_bytes()
    with pytest.raises(UserError) as refused:
        main(f"--data_dir={data.path}", f"--job_dir={cv_dir}", *FLAGS, "--epochs=2")
    assert str(refused.value) == (
        f"{cv_dir} holds a cross-validation that differs: epochs 1, not 2; "
        "go on with its settings, choose another `job_dir`, or `overwrite` it"
    )
    assert (cv_dir / CROSS_VALIDATION_FILE).read_bytes() == before


def test_a_mistake_in_a_run_ends_all_in_one_line(data, tmp_path, monkeypatch):
    monkeypatch.setattr(folds, "prepare", float)
    (tmp_path / "time").write_text("where the runs should be")
    with pytest.raises(UserError, match=r"^time, seed [01], fold [0-2]: .* cannot be written: Not a directory$"):
        main(f"--data_dir={data.path}", f"--job_dir={tmp_path}", *FLAGS)


def test_one_that_goes_on_has_the_threads_of_an_unbroken_one(unbroken, data, tmp_path, monkeypatch, capsys):
    cv_dir = shutil.copytree(unbroken[0], tmp_path / "CV")
    (Run("time", 1, 2).job_dir(cv_dir) / PREDICTIONS_FILE).unlink()
    monkeypatch.setattr(cross_validate.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(folds, "prepare", os._exit)
    with pytest.raises(UserError, match="ended with status 4"):
        main(f"--data_dir={data.path}", f"--job_dir={cv_dir}", *FLAGS)
    assert capsys.readouterr().out == "1 of 6 trainings to do, 1 at a time, threads for each: 4\n"


def test_a_process_that_is_gone_is_told_with_its_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr(folds, "prepare", os._exit)
    message = r"^time, seed \d, fold (\d): its process ended with status \d .*; see .*/time/seed_\d/fold_\1/log\.txt$"
    with pytest.raises(UserError, match=message):
        main(f"--data_dir={data.path}", f"--job_dir={tmp_path}", *FLAGS)


def test_overwriting_starts_over(unbroken, data, tmp_path, monkeypatch):
    cv_dir = shutil.copytree(unbroken[0], tmp_path / "CV")
    left = []
    monkeypatch.setattr(cross_validate, "_train", lambda runs, processes: left.extend(r for r in runs if not r.is_done))
    monkeypatch.setattr(cross_validate, "_finish", lambda *arguments: None)
    main(f"--data_dir={data.path}", f"--job_dir={cv_dir}", *FLAGS, "--epochs=3", "--overwrite")
    assert len(left) == 6
    assert sorted(path.name for path in cv_dir.iterdir()) == [CROSS_VALIDATION_FILE, "time"]
    assert json.loads((cv_dir / CROSS_VALIDATION_FILE).read_text())["flags"]["epochs"] == 3


@pytest.mark.parametrize("names", ["time_frequency_init,time,frequency", "time_frequency_init,time"])
def test_filters_come_from_the_runs_of_the_same_seed_and_fold(data, tmp_path, monkeypatch, names):
    runs = []
    monkeypatch.setattr(cross_validate, "_train", lambda own, processes: runs.extend(own))
    monkeypatch.setattr(cross_validate, "_finish", lambda *arguments: None)
    main(f"--data_dir={data.path}", f"--job_dir={tmp_path}", f"--model={names}", "--seeds=2")
    with_parents = [own for own in runs if own.run.model == "time_frequency_init"]
    assert len(with_parents) == 6
    for own in with_parents:
        place = Path(f"seed_{own.run.seed}") / f"fold_{own.run.fold}"
        parents = (tmp_path / "time" / place, tmp_path / "frequency" / place)
        assert own.parents == (parents if names.endswith(",frequency") else None)
    assert all(own.parents is None for own in runs if own.run.model != "time_frequency_init")


def test_remains_of_another_one_are_not_taken_for_finished(unbroken, data, tmp_path):
    # As after a kill while one was being cleared away.
    cv_dir = shutil.copytree(unbroken[0], tmp_path / "CV")
    (cv_dir / CROSS_VALIDATION_FILE).unlink()
    with pytest.raises(UserError, match=r"time/seed_0/fold_0 holds a job that differs: epochs 1, not 3"):
        main(f"--data_dir={data.path}", f"--job_dir={cv_dir}", *FLAGS, "--epochs=3")


def config_of(values):
    return config.from_flags(values, skip=("model", "seed"))


def test_training_flags_are_those_of_a_single_training(data, monkeypatch):
    own = {"data_dir", "job_dir", "model", "seed", "test_fold", "valid_fold", "overwrite"}
    not_here = {"seed", "test_fold", "valid_fold", "init_from", "log_batches", "profile_steps"}
    not_here |= {"distribution", "tpu", "jit_compile", "export_dir", "logs_dir"}
    assert set(train.FLAGS) - set(cross_validate.FLAGS) == not_here
    for name in set(train.FLAGS) - own - not_here:
        assert cross_validate.FLAGS[name].help == train.FLAGS[name].help
    values = copy.deepcopy(cross_validate.FLAGS)
    values(["cross_validate", f"--data_dir={data.path}", "--augment=time_masks=2,gain_db=0", "--patience=3"])
    job = cross_validate.job_of_run(config_of(values), data.path, Run("frequency", 4, 1))
    assert (job.model, job.seed, job.parts.test, job.patience) == ("frequency", 4, ("fold_1",), 3)
    assert job.augmentation.time_masks == 2
    assert not values["learning_rate"].present and not train.FLAGS["patience"].present


def test_what_the_recipe_gives_is_part_of_what_was_asked_for(data):
    values = copy.deepcopy(cross_validate.FLAGS)
    values(["cross_validate", f"--data_dir={data.path}", "--recipe=augmented", "--patch_frames=80", "--warmup=0.2"])
    asked = cross_validate._asked(values, config_of(values), data.manifest, ["black_box"]).flags
    found = {name: asked[name] for name in ("augment", "warmup", "weight_average", "patch_mode", "patch_frames")}
    recipe = RECIPES["augmented"]
    assert found == {
        "augment": augmentation_text(recipe.settings["augmentation"]),
        "warmup": 0.2,
        "weight_average": recipe.settings["weight_average"],
        "patch_mode": "random",
        "patch_frames": 80,
    }
    job = cross_validate.job_of_run(config_of(values), data.path, Run("time", 0, 1))
    assert (job.parts.train, job.parts.valid, job.parts.test) == (("fold_0", "fold_2"), (), ("fold_1",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"--data_dir=OUT and --job_dir=CV are needed"),
        (["--data_dir={tiny}", "--job_dir={cv}"], r"needs a dataset of folds; this one has train, valid, test"),
        (["--data_dir={data}", "--job_dir={cv}", "--model=time,tiem"], "`model` must be one of"),
        (["--data_dir={data}", "--job_dir={cv}", "--model=time,time"], r"different models, got 'time,time'"),
        (
            ["--data_dir={data}", "--job_dir={cv}", "--model=all,time"],
            "has every model already, got 'all,time'",
        ),
        (["--data_dir={data}", "--job_dir={cv}", "--model="], "--model must name different models"),
        (["--data_dir={data}", "--job_dir={cv}", "--epochs=0"], "`epochs` must be from 1 to 1000000000, got 0"),
        (["--data_dir={data}", "--job_dir={cv}", "--audio_dir={cv}"], r"^`audio_dir=.*`: no such folder"),
        (["--data_dir={data}", "--job_dir={cv}", "more"], "unexpected argument 'more'"),
        (["--data_dir={data}", "--job_dir={data}/manifest.json/x"], "cannot be made: Not a directory"),
    ],
)
def test_mistakes_on_the_command_line(tiny, data, tmp_path, arguments, message):
    places = {"tiny": tiny.path, "data": data.path, "cv": tmp_path / "CV"}
    with pytest.raises(UserError, match=message):
        main(*(argument.format(**places) for argument in arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_training_jobs_directory_is_left_alone(trained, data, tmp_path, overwrite):
    job_dir = shutil.copytree(trained, tmp_path / "job")
    (job_dir / "report.html").write_text("the score")
    before = times(job_dir.rglob("*"))
    with pytest.raises(UserError, match="holds a training job; choose another --job_dir"):
        main(f"--data_dir={data.path}", f"--job_dir={job_dir}", *overwrite)
    assert times(job_dir.rglob("*")) == before


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_results_of_something_else_are_left_alone(data, tmp_path, overwrite):
    (tmp_path / "results.json").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=f"^{tmp_path} holds results.json, but no cross_validation.json, so not of a"):
        main(f"--data_dir={data.path}", f"--job_dir={tmp_path}", *overwrite)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "results.json"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=time_frequency,time", "--model_options=units=50"], "model time has no option 'units'"),
        (["--model=frequency,time", "--patch_frames=59"], "filters need 60 frames, the patches have 59"),
    ],
)
def test_every_model_is_checked_before_any_is_trained(unbroken, data, tmp_path, monkeypatch, flags, message):
    monkeypatch.setattr(cross_validate, "_train", lambda runs, processes: pytest.fail("trains"))
    with pytest.raises(UserError, match=message):
        main(f"--data_dir={data.path}", f"--job_dir={tmp_path / 'new'}", *flags)
    assert list((tmp_path / "new").iterdir()) == []
    cv_dir = shutil.copytree(unbroken[0], tmp_path / "CV")
    before = times(cv_dir.rglob("*"))
    with pytest.raises(UserError, match=message):
        main(f"--data_dir={data.path}", f"--job_dir={cv_dir}", *flags, "--overwrite")
    assert times(cv_dir.rglob("*")) == before
