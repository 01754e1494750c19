import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tfrecords.command_line import UserError
from trainer import plots, train
from trainer.training_job import CONFIG_FILE, METRICS_FILE, REPORT_FILE, TrainingJob, read_history

ROOT = Path(__file__).parents[2]


def run_program(*arguments, module="trainer.train"):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def run_training(job, job_dir):
    job_dir.mkdir()
    train.train(job, job_dir)
    return read_history(job_dir)


def test_a_job_directory_holds_what_is_promised(trained, tiny):
    assert sorted(path.name for path in trained.iterdir()) == ["best.keras", "config.json", "history.csv", "logs"]
    history = read_history(trained)
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} < set(history)
    assert all(len(values) == 2 for values in history.values())
    assert list((trained / "logs").rglob("events.out.tfevents.*"))
    job = TrainingJob.load(trained)
    assert (job.parts.train, job.parts.valid, job.parts.test) == (("train",), ("valid",), ("test",))
    assert job.fingerprint == tiny.manifest.fingerprint
    assert Path(job.data_dir) == tiny.path
    assert set(job.versions) == {"tensorflow", "keras", "numpy"}


def test_the_statistics_are_those_of_the_training_parts_alone(trained, tiny):
    job = TrainingJob.load(trained)
    exact = tiny.exact["train"].astype(np.float64)
    np.testing.assert_allclose(job.statistics.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(job.statistics.std, exact.std(axis=0), rtol=1e-12)


def test_the_model_kept_is_that_of_the_best_epoch(trained, tiny):
    history = read_history(trained)
    job = TrainingJob.load(trained)
    model = keras.models.load_model(trained / "best.keras")
    patches, labels = [], []
    for record in tiny.records["valid"]:
        for start in range(0, len(record.log_mel) - 79, 80):
            patches.append((record.log_mel[start : start + 80] - job.statistics.mean) / job.statistics.std)
            labels.append(record.label)
    probabilities = model.predict_on_batch(np.array(patches, np.float32)[..., np.newaxis])
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(min(history["val_loss"]), rel=1e-4)
    assert history["val_loss"][plots.best_epoch(history) - 1] == min(history["val_loss"])


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(trained, tiny, job_of, tmp_path):
    first = read_history(trained)
    again = run_training(job_of(tiny.path), tmp_path / "again")
    other = run_training(job_of(tiny.path, "--seed=1"), tmp_path / "other")
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(again[name], first[name], atol=1e-6)
        assert np.abs(np.subtract(other[name], first[name])).max() > 1e-4


def test_a_model_learns_what_can_be_learnt(tmp_path, write_dataset, job_of):
    # The labels are loud in bands of their own, which black_box sees at once.
    data = write_dataset(tmp_path / "data", frames=(80, 90), tracks_per_label=8)
    arguments = ["--model=black_box", "--epochs=6", "--learning_rate=0.001"]
    history = run_training(job_of(data.path, *arguments), tmp_path / "job")
    assert max(history["val_accuracy"]) > 0.9
    assert history["loss"][-1] < history["loss"][0]


def test_training_stops_when_nothing_gets_better(tiny, job_of, tmp_path):
    # With so small a rate, float32 cannot even hold the change.
    arguments = ["--learning_rate=1e-30", "--epochs=20", "--patience=2"]
    assert len(run_training(job_of(tiny.path, *arguments), tmp_path / "job")["loss"]) == 3


def test_test_parts_are_not_read(tmp_path, write_dataset, job_of):
    data = write_dataset(tmp_path / "data", parts=("fold_0", "fold_1", "fold_2", "fold_3"))
    job = job_of(data.path, "--test_fold=1")
    assert (job.parts.train, job.parts.valid, job.parts.test) == (("fold_2", "fold_3"), ("fold_0",), ("fold_1",))
    for path in data.shards("fold_1"):
        path.unlink()
    run_training(job, tmp_path / "job")
    assert (tmp_path / "job" / "best.keras").exists()


def test_a_loss_that_is_no_number_ends_in_one_line(tiny, job_of, tmp_path):
    with pytest.raises(UserError, match=r"loss is (nan|inf) after epoch 1; lower --learning_rate"):
        run_training(job_of(tiny.path, "--learning_rate=1e38"), tmp_path / "job")
    assert sorted(path.name for path in (tmp_path / "job").iterdir() if path.suffix == ".keras") == []


def test_a_corrupt_shard_ends_in_one_line(tmp_path, write_dataset, job_of):
    data = write_dataset(tmp_path / "data")
    path = data.shards("train")[0]
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{data.path}: a shard is corrupt"):
        run_training(job_of(data.path), tmp_path / "job")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test_fold=1"], "--test_fold and --valid_fold need a dataset of folds"),
        (["--patch_frames=251"], "train should be for training but hold no record of 251 frames"),
        (["--epochs=0"], "--epochs must be at least 1"),
    ],
)
def test_what_the_dataset_does_not_allow(tiny, job_of, arguments, message):
    with pytest.raises(UserError, match=message):
        job_of(tiny.path, *arguments)


@pytest.mark.parametrize("part", ["fold_0", "fold_1", "fold_2"])
def test_a_shard_that_is_missing_anywhere_is_found_before_training(own, job_of, part):
    path = own.shards(part)[1]
    path.unlink()
    with pytest.raises(UserError, match=f"^{path} should hold"):
        job_of(own.path, "--patch_frames=2")


def test_a_held_job_directory_is_refused_in_one_line(trained, tiny):
    before = (trained / CONFIG_FILE).read_bytes()
    done = run_program(f"--data_dir={tiny.path}", f"--job_dir={trained}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {trained} already holds a job; choose another --job_dir, or --overwrite it\n"
    assert (trained / CONFIG_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("flag", "message"), [("--model=tiem", "--model must be one of"), ("--patch_frames=59", "filters need 60 frames")]
)
def test_overwriting_begins_only_when_the_new_job_can(tiny, job_of, tmp_path, flag, message):
    job_dir = tmp_path / "job"
    job_dir.mkdir()
    (job_dir / CONFIG_FILE).write_text("the earlier job")
    with pytest.raises(UserError, match=message):
        train.train(job_of(tiny.path, flag), job_dir)
    assert (job_dir / CONFIG_FILE).read_text() == "the earlier job"


def test_overwriting_leaves_nothing_of_the_earlier_job(tiny, tmp_path):
    job_dir = tmp_path / "job"
    (job_dir / "logs" / "old").mkdir(parents=True)
    (job_dir / CONFIG_FILE).write_text("{}")
    for name in (METRICS_FILE, REPORT_FILE, "notes.txt"):
        (job_dir / name).write_text("mine")
    arguments = ["--model=time", "--epochs=1", "--overwrite"]
    done = run_program(f"--data_dir={tiny.path}", f"--job_dir={job_dir}", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "epoch 1 of 1: loss " in done.stdout
    assert json.loads((job_dir / CONFIG_FILE).read_text())["epochs"] == 1
    for name in ("logs/old", METRICS_FILE, REPORT_FILE):
        assert not (job_dir / name).exists()
    assert (job_dir / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data_dir=OUT and --job_dir=JOB are needed"),
        (["--data_dir={data}", "--job_dir={data}/manifest.json/job"], "cannot be made: Not a directory"),
        (["--data_dir={data}/no", "--job_dir={data}/job"], "{data}/no: no such directory"),
        (["--data_dir={data}", "--job_dir={data}/job", "--model=tiem"], "--model must be one of black_box, time, got"),
        (["--data_dir={data}", "--job_dir=x", "y"], "unexpected argument 'y'"),
    ],
)
def test_mistakes_end_in_one_line_and_status_2(own, arguments, message):
    arguments = [argument.format(data=own.path) for argument in arguments]
    done = run_program(*arguments, "--patch_frames=2")
    assert (done.returncode, done.stdout) == (2, "")
    assert message.format(data=own.path) in done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert not (own.path / "job").exists()
