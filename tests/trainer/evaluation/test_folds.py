import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecords.common.command_line import UserError
from trainer import models, training_job
from trainer.evaluation import predictions
from trainer.evaluation.cross_validation import Run
from trainer.evaluation.fold_workers import Workers
from trainer.evaluation.folds import LOG_FILE, CoreSeconds, FoldRun, carry_out, prepare
from trainer.evaluation.metrics import Predictions, summarize
from trainer.evaluation.saved_predictions import PREDICTIONS_FILE, FoldPredictions
from trainer.training_job import CHECKPOINT_FILE, TrainingJob

ROOT = Path(__file__).parents[3]
RUN = Run("time", 0, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_dataset):
    parts = ("fold_0", "fold_1", "fold_2")
    return write_dataset(tmp_path_factory.mktemp("folds"), parts=parts, frames=(80, 170))


@pytest.fixture
def make(data, job_of, tmp_path):
    """A run that tests on fold 1, by the flags of its training."""

    def make(*flags):
        return FoldRun(RUN, job_of(data.path, "--test_fold=1", *flags), RUN.job_dir(tmp_path), save_every_s=300.0)

    return make


def carried_out(own):
    """By a worker, whose prints go where they do in earnest."""
    with Workers(1, partial(prepare, 1), carry_out) as workers:
        ((_, done),) = workers.do([own])
    return done


def test_it_trains_predicts_its_fold_and_need_not_train_again(make, data, capfd, monkeypatch):
    # As the command has it, whose environment workers inherit.
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    own = make()
    assert not own.is_done
    done = carried_out(own)
    assert own.is_done
    saved = FoldPredictions.load(own.job_dir / PREDICTIONS_FILE)
    scores = summarize(saved.predictions)
    assert set(saved.predictions.track_ids) == {record.track_id for record in data.records["fold_1"]}
    assert (saved.parameters, saved.epochs) == (3971, 2)
    assert 0 < saved.core_seconds < done.seconds * os.cpu_count()
    assert (done.accuracy, done.tracks) == (scores.track_accuracy_mean, 6)
    assert (done.epochs, done.best_epoch) == (2, saved.best_epoch)
    assert TrainingJob.load(own.job_dir).parts.test == ("fold_1",)
    log = (own.job_dir / LOG_FILE).read_text()
    assert "epoch 2 of 2: loss" in log and "training on fold_2, validating on fold_0" in log
    assert capfd.readouterr() == ("", "")

    # As after a kill between the training's end and the predictions.
    (own.job_dir / PREDICTIONS_FILE).unlink()
    model = (own.job_dir / CHECKPOINT_FILE).stat()
    carry_out(own)
    assert (own.job_dir / CHECKPOINT_FILE).stat() == model
    again = FoldPredictions.load(own.job_dir / PREDICTIONS_FILE)
    np.testing.assert_allclose(again.predictions.probabilities, saved.predictions.probabilities, atol=1e-6)
    assert again.core_seconds is None
    own.check_directory()
    with pytest.raises(UserError, match=r"holds a job that differs: epochs 2, not 3; go on with its settings"):
        make("--epochs=3").check_directory()


def test_what_a_training_took_holds_no_predictions(make, monkeypatch):
    in_earnest = predictions.predict

    def slowly(*arguments, **options):
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
        return in_earnest(*arguments, **options)

    monkeypatch.setattr(predictions, "predict", slowly)
    own = make()
    began = time.process_time()
    carry_out(own)
    took = time.process_time() - began
    assert 0 < FoldPredictions.load(own.job_dir / PREDICTIONS_FILE).core_seconds <= took - 0.5


def test_a_training_that_goes_on_is_not_told_too_short(make, monkeypatch):
    def run_epochs(*arguments, **options):
        raise OSError(28, "No space left on device")

    own = make("--epochs=1")
    with monkeypatch.context() as patch:
        patch.setattr("trainer.training.epochs.run_epochs", run_epochs)
        with pytest.raises(UserError, match="No space left"):
            carry_out(own)
    carry_out(own)
    assert own.is_done
    assert FoldPredictions.load(own.job_dir / PREDICTIONS_FILE).core_seconds is None


def test_a_mistake_names_the_run(make):
    message = r"^time, seed 0, fold 1: the training loss is (nan|inf) after epoch 1; lower `learning_rate`$"
    own = make("--learning_rate=1e38")
    with pytest.raises(UserError, match=message):
        carry_out(own)
    assert not own.is_done and not (own.job_dir / CHECKPOINT_FILE).exists()


def test_what_is_nobodys_mistake_leaves_its_traceback_in_the_log(make):
    own = dataclasses.replace(make("--epochs=1"), save_every_s="soon")
    log = own.job_dir / LOG_FILE
    with pytest.raises(UserError, match=rf"^time, seed 0, fold 1 failed: \w+: .*; see {log}$") as caught:
        carried_out(own)
    assert "\n" not in str(caught.value)
    assert "Traceback (most recent call last):" in log.read_text()


def test_a_directory_that_cannot_be_made(make, tmp_path):
    (tmp_path / "time").write_text("")
    with pytest.raises(UserError, match=r"^time, seed 0, fold 1: .*/time/seed_0/fold_1 cannot be written: Not a dir"):
        carry_out(make())


def test_a_directory_that_another_process_writes_to(make):
    own = make()
    own.job_dir.mkdir(parents=True)
    message = f"^time, seed 0, fold 1: {own.job_dir}: another process is writing there$"
    with training_job.lock_job_dir(own.job_dir), pytest.raises(UserError, match=message):
        carry_out(own)


def test_a_fault_at_claiming_the_directory_is_not_hidden(make, monkeypatch):
    def lock_job_dir(directory):
        raise ValueError("a bug")

    monkeypatch.setattr(training_job, "lock_job_dir", lock_job_dir)
    with pytest.raises(ValueError, match=r"^a bug$") as caught:
        carry_out(make())
    assert not isinstance(caught.value, UserError)


@pytest.mark.slow
def test_filters_that_know_no_track_of_the_test_fold(make, data, tmp_path):
    parents = tuple(Run(model, 0, 1).job_dir(tmp_path) for model in ("time", "frequency"))
    child = Run("time_frequency_init", 0, 1)
    flags = ("--epochs=1", "--learning_rate=1e-30")
    own = dataclasses.replace(
        make("--model=time_frequency_init", *flags), run=child, job_dir=child.job_dir(tmp_path), parents=parents
    )
    for model, job_dir in zip(("time", "frequency"), parents, strict=True):
        assert not own.may_begin
        carry_out(dataclasses.replace(make(f"--model={model}", *flags), run=Run(model, 0, 1), job_dir=job_dir))
    assert own.may_begin
    carry_out(own)
    own.check_directory()
    assert not (own.job_dir / "time").exists()
    tested = FoldPredictions.load(own.job_dir / PREDICTIONS_FILE).predictions.track_ids
    trained = keras.models.load_model(own.job_dir / CHECKPOINT_FILE)
    for model, job_dir in zip(("time", "frequency"), parents, strict=True):
        parts = TrainingJob.load(job_dir).parts
        seen = {record.track_id for part in parts.train + parts.valid for record in data.records[part]}
        assert set(tested) == {record.track_id for record in data.records["fold_1"]} and not seen & set(tested)
        # They are indeed where the filters come from: with so small a rate they stay as they were.
        kernel = keras.models.load_model(job_dir / CHECKPOINT_FILE).get_layer("convolution").kernel
        np.testing.assert_array_equal(trained.get_layer(f"{model}_convolution").kernel, kernel)


def test_parents_of_another_fold_are_refused(make, tmp_path):
    flags = ("--epochs=1", "--test_fold=2")
    parents = tuple(tmp_path / model for model in ("time", "frequency"))
    for model, job_dir in zip(("time", "frequency"), parents, strict=True):
        job_dir.mkdir()
        make(f"--model={model}", *flags).job.save(job_dir)
        models.create(model, num_classes=3, input_shape=(80, 40, 1)).save(job_dir / CHECKPOINT_FILE)
    own = dataclasses.replace(make("--model=time_frequency_init"), parents=parents)
    with pytest.raises(UserError, match=r"^time, seed 0, fold 1: .* its filters may know validation or test tracks"):
        carry_out(own)
    assert not own.is_done


def test_a_worker_takes_no_more_threads_than_it_was_given():
    program = (
        "from trainer.evaluation.folds import prepare; prepare(3); "
        "import tensorflow as tf; tf.constant(1) + 1; "
        "print(tf.config.threading.get_intra_op_parallelism_threads(), "
        "tf.config.threading.get_inter_op_parallelism_threads())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "3 3\n"


@pytest.fixture
def child(make, tmp_path):
    """A run of time_frequency_init whose parents are asked for, but not there."""
    run = Run("time_frequency_init", 0, 1)
    parents = tuple(Run(model, 0, 1).job_dir(tmp_path) for model in ("time", "frequency"))
    job_dir = run.job_dir(tmp_path)
    job_dir.mkdir(parents=True)
    job = make("--model=time_frequency_init").job
    return dataclasses.replace(make(), run=run, job=job, job_dir=job_dir, parents=parents)


def hold(job_dir, text):
    """As a finished run leaves its files, but with weights that are mere text."""
    job_dir.mkdir(parents=True, exist_ok=True)
    (job_dir / PREDICTIONS_FILE).write_text("")
    with zipfile.ZipFile(job_dir / CHECKPOINT_FILE, "w") as archive:
        archive.writestr("model.weights.h5", text)


def test_a_run_whose_parents_are_gone_is_kept(child):
    for parent in child.parents:
        hold(parent, "weights")
    child.whole_job().save(child.job_dir)
    child.check_directory()
    shutil.rmtree(child.parents[0])
    child.check_directory()
    # Their weights, when they are there again, are compared.
    hold(child.parents[0], "others")
    message = f"has filters of other time and frequency models .* delete {child.job_dir}; or choose another `job_dir`$"
    with pytest.raises(UserError, match=message):
        child.check_directory()


def test_parents_that_are_asked_for_later_are_refused_in_clear_words(child):
    child.job.save(child.job_dir)
    message = f"^{child.job_dir} has filters of its own time and frequency .* delete {child.job_dir.parents[1]}; or"
    with pytest.raises(UserError, match=message):
        child.check_directory()
    dataclasses.replace(child, parents=None).check_directory()


def test_a_run_without_its_model_is_not_done(make):
    own = make()
    hold(own.job_dir, "weights")
    own.job.save(own.job_dir)
    assert own.is_done
    (own.job_dir / CHECKPOINT_FILE).unlink()
    assert not own.is_done
    with pytest.raises(UserError, match=rf"^time, seed 0, fold 1: {own.job_dir} holds a job whose best\.keras is gone"):
        carry_out(own)


def test_an_error_of_the_system_while_training_is_told_as_it_is(make, monkeypatch):
    def train(*arguments, **options):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("trainer.train.train", train)
    with pytest.raises(UserError, match=r"^time, seed 0, fold 1 failed: OSError: .*Too many open files; see .*log"):
        carry_out(make())


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])


@pytest.fixture
def clock(monkeypatch):
    """The processor time that the process has used, in a list of one."""
    used = [7.0]
    monkeypatch.setattr(time, "process_time", lambda: used[0])
    return used


@pytest.fixture
def parents(tmp_path):
    own = Predictions(np.full((1, 2), 0.5, np.float32), np.zeros(1, np.int32), ["a"], ("blues", "rock"))
    for name in ("time", "frequency"):
        (tmp_path / name).mkdir()
        FoldPredictions(own, 1, 1, 1, core_seconds=20.0).save(tmp_path / name / "predictions.npz")
    return [tmp_path / "time", tmp_path / "frequency"]


def test_waiting_costs_nothing_and_every_thread_counts():
    def work():
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    cost = CoreSeconds()
    time.sleep(0.5)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.2 <= cost.taken(went_on=False, parents=()) < 0.5


def test_a_training_that_was_interrupted_has_none():
    assert CoreSeconds().taken(went_on=True, parents=()) is None


def test_parents_are_part_of_it(parents, clock):
    cost = CoreSeconds()
    clock[0] += 15
    assert cost.taken(went_on=False, parents=parents) == 55.0
    path = parents[1] / "predictions.npz"
    dataclasses.replace(FoldPredictions.load(path), core_seconds=None).save(path)
    assert cost.taken(went_on=False, parents=parents) is None


def test_what_else_than_tensorflow_on_a_cpu_computes_is_not_counted(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert CoreSeconds().taken(went_on=False, parents=()) is None
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    assert CoreSeconds().taken(went_on=False, parents=()) is None
