"""Trainings on several devices, as processes of their own, against the same training on one device in this process.

All without dropout, whose masks depend on how a batch is dealt; 10 patches in batches of 4, so that the last of an
epoch is smaller; that of the validation, 3 patches, cannot be dealt evenly to two devices.
"""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecords.common.command_line import UserError
from trainer import train
from trainer.distribution import devices
from trainer.distribution import devices as devices_module
from trainer.distribution.choice import Choice
from trainer.distribution.devices import begin
from trainer.distribution.hosts import STATUS, Cluster, HostLostError, losing_hosts
from trainer.training import epochs
from trainer.training.callbacks import SaveProgress
from trainer.training.input_wait import InputWait
from trainer.training.training_state import STATE_FILE, TrainingState, build, values_of
from trainer.training_job import read_history

HERE = Path(__file__).parent
FLAGS = ["--model_options=filters=4", "--epochs=2", "--batch_size=4", "--model=time", "--learning_rate=0.01"]
LIMIT_S = 600


def _module(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


StepLosses = _module("step_losses").StepLosses


def start_process(path, data, job_dir, *flags, cpus=1, kill_after=0, **environ):
    """trainer.train with FLAGS, whose step losses go to `path`."""
    where = [f"--data_dir={data.path}", f"--job_dir={job_dir}", "--save_every_s=0"]
    return subprocess.Popen(
        [sys.executable, HERE / "run_training.py", path, str(cpus), str(kill_after), *where, *FLAGS, *flags],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[2]), "TF_CPP_MIN_LOG_LEVEL": "3", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_of(process):
    """(status, what it said last on standard error, what it printed)."""
    try:
        printed, said = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    return process.returncode, (said.strip().splitlines() or [""])[-1], printed


def read(path):
    """Lines `epoch step loss` as {(epoch, patches trained on in it): loss}; a step that is done again counts once."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return {(int(epoch), float(count)): float(loss) for epoch, count, loss in rows}


@pytest.fixture
def train_here(tiny, job_of, monkeypatch):
    """Trains on this process' one device, or goes on; `kill_after` raises KeyboardInterrupt after so many steps."""
    monkeypatch.setattr(keras.layers.Dropout, "call", lambda self, inputs, training=False: inputs)
    made = epochs._callbacks

    def train_here(path, job_dir, *, kill_after=0):
        class Killer(keras.callbacks.Callback):
            left = kill_after

            def on_train_batch_end(self, batch, logs=None):
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt

        monkeypatch.setattr(
            epochs, "_callbacks", lambda *args, **named: [StepLosses(path), *made(*args, **named), Killer()]
        )
        job = job_of(tiny.path, *FLAGS)
        start = train.unfinished(job, job_dir)
        job_dir.mkdir(exist_ok=True)
        try:
            train.train(job, job_dir, start=start, options=train.RunOptions(save_every_s=0))
        except KeyboardInterrupt:
            assert kill_after

    return train_here


@pytest.fixture
def same_as_single(train_here, tmp_path):
    """Whether a job's losses, of all steps and of its history, are those of an unbroken one on a single device."""

    def same(path, job_dir):
        train_here(tmp_path / "single.txt", tmp_path / "single")
        expected, found = read(tmp_path / "single.txt"), read(path)
        assert list(expected) == [(0, 4), (0, 8), (0, 10), (1, 4), (1, 8), (1, 10)]
        assert sorted(found) == sorted(expected)
        np.testing.assert_allclose([found[place] for place in expected], list(expected.values()), atol=1e-5)
        history, other = read_history(job_dir), read_history(tmp_path / "single")
        assert list(history) == list(other)
        np.testing.assert_allclose(list(history.values()), list(other.values()), atol=1e-5)
        assert sorted(path.name for path in job_dir.iterdir()) == [
            "best.keras",
            "confidence.json",
            "config.json",
            "familiarity.npz",
            "history.csv",
            "logs",
            "run.json",
        ]
        weights, others = (
            keras.models.load_model(path / "best.keras").get_weights() for path in (job_dir, tmp_path / "single")
        )
        for own, expected_own in zip(weights, others, strict=True):
            np.testing.assert_allclose(own, expected_own, atol=1e-5)

    return same


@pytest.mark.slow
def test_two_devices_of_one_host_then_one(tiny, train_here, same_as_single, tmp_path):
    losses, job_dir = tmp_path / "losses", tmp_path / "job"
    process = start_process(losses, tiny, job_dir, "--distribution=mirrored", cpus=2, kill_after=4)
    status, said, printed = end_of(process)
    assert status == -signal.SIGKILL, said
    assert "2 CPUs of this host, batches of 4 in all" in printed
    # In the middle of the second epoch, on another number of devices.
    state = TrainingState.load(job_dir / STATE_FILE)
    assert (state.epoch, state.step) == (1, 1)
    train_here(losses, job_dir)
    same_as_single(losses, job_dir)


def _free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@pytest.fixture
def run_hosts(tiny, tmp_path):
    """Trains on two hosts to their ends; `kill_after`: steps after which the second one dies."""

    def run_hosts(losses, job_dir, *, kill_after=0):
        cluster = {"worker": [f"localhost:{port}" for port in _free_ports(2)]}
        configs = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}) for index in range(2)]
        processes = [
            start_process(path, tiny, job_dir, kill_after=kills, TF_CONFIG=config)
            for path, config, kills in zip(losses, configs, (0, kill_after), strict=True)
        ]
        return [end_of(process) for process in processes]

    return run_hosts


@pytest.mark.slow
def test_one_host_then_two(train_here, run_hosts, same_as_single, tmp_path):
    job_dir, losses = tmp_path / "job", [tmp_path / "chief", tmp_path / "other"]
    train_here(losses[0], job_dir, kill_after=2)
    chief, other = run_hosts(losses, job_dir)
    assert (chief[0], other[0]) == (0, 0), (chief, other)
    assert "going on in epoch 1 of 2, after step 2 of 3" in chief[2] and "epoch 2 of 2: loss" in chief[2]
    assert "2 devices of 2 hosts, of which this is number 1" in other[2] and "epoch 2 of 2: loss" not in other[2]
    assert read(losses[1]).items() <= read(losses[0]).items()
    same_as_single(losses[0], job_dir)


@pytest.mark.slow
def test_a_host_that_is_killed_ends_the_others_and_both_go_on(run_hosts, same_as_single, tmp_path):
    job_dir, losses = tmp_path / "job", [tmp_path / "chief", tmp_path / "other"]
    (status, said, _), (killed, _, _) = run_hosts(losses, job_dir, kill_after=2)
    assert killed == -signal.SIGKILL
    assert status == STATUS
    assert said.startswith("error: another host of this training is gone (")
    assert said.endswith("start the same command on all hosts again, and it goes on from the last saved state")
    chief, other = run_hosts(losses, job_dir)
    assert (chief[0], other[0]) == (0, 0), (chief, other)
    same_as_single(losses[0], job_dir)


@pytest.mark.slow
def test_a_training_begun_by_tensorflow_goes_on_by_jax_on_two_devices_and_back(
    tiny, train_here, same_as_single, tmp_path
):
    losses, job_dir = tmp_path / "losses", tmp_path / "job"
    train_here(losses, job_dir, kill_after=2)
    two = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    process = start_process(losses, tiny, job_dir, kill_after=2, **two)
    status, said, printed = end_of(process)
    assert status == -signal.SIGKILL, said
    assert "going on in epoch 1 of 2, after step 2 of 3" in printed and "2 devices by JAX" in printed
    state = TrainingState.load(job_dir / STATE_FILE)
    assert (state.epoch, state.step) == (1, 1)
    # best.keras as JAX has written it, read by TensorFlow.
    model = keras.models.load_model(job_dir / "best.keras")
    assert int(model.optimizer.iterations) == 3
    train_here(losses, job_dir)
    same_as_single(losses, job_dir)


def test_one_gpu_or_none_is_not_mirrored():
    with pytest.raises(UserError, match="`distribution=mirrored` needs more than one GPU, found 0; take auto"):
        begin(Choice("mirrored"))
    assert begin(Choice("auto")).words == "one device"


@pytest.mark.slow
def test_a_tpu_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match="`distribution=tpu`: no TPU answers as `tpu=local`") as error:
        begin(Choice("tpu"))
    assert len(str(error.value).splitlines()) == 1


def test_hosts_that_do_not_come_are_not_waited_for_without_end(capsys):
    port = _free_ports(1)[0]
    with pytest.raises(HostLostError, match=r"not all of the 2 hosts of TF_CONFIG have come within 0\.1 s"):
        devices_module._hosts(Cluster((f"localhost:{port}", "b:1"), 0), limit_s=0.1)
    assert f"host 0 of 2 (localhost:{port}): waits for the others" in capsys.readouterr().out


def test_errors_are_a_lost_host_only_where_there_are_others():
    gone = tf.errors.UnavailableError(None, None, "{{node a/b}} Collective ops is aborted by: reset\nmore")
    with pytest.raises(HostLostError, match=r"is gone \(Collective ops is aborted by: reset\); start"), losing_hosts(2):
        raise gone
    with pytest.raises(tf.errors.UnavailableError), losing_hosts(1):
        raise gone
    with pytest.raises(UserError), losing_hosts(2):
        raise UserError("a mistake")


RNG = np.random.default_rng(0)
STEPS = 3


def batches():
    patches, labels = RNG.normal(size=(4 * STEPS, 5)).astype(np.float32), RNG.integers(0, 3, 4 * STEPS)
    return tf.data.Dataset.from_tensor_slices((patches, labels)).batch(4)


class StopInValidation(keras.callbacks.Callback):
    def __init__(self, progress):
        super().__init__()
        self.progress = progress

    def on_test_batch_end(self, batch, logs=None):
        self.progress.save_now()
        raise KeyboardInterrupt


def new_model():
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dropout(0.5), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    build(model)
    return model


def test_an_epoch_that_was_stopped_in_its_validation_ends_as_an_unbroken_one(tmp_path):
    train, valid = batches(), batches()
    arguments = {"validation_data": valid, "shuffle": False, "verbose": 0}
    whole = new_model()
    expected = whole.fit(train, epochs=1, **arguments).history
    stopped = new_model()
    progress = SaveProgress(tmp_path, TrainingState(), steps=STEPS, save_every_s=1e9)
    try:
        stopped.fit(train, epochs=1, callbacks=[progress, StopInValidation(progress)], **arguments)
        raise AssertionError("it was not stopped")
    except KeyboardInterrupt:
        state = TrainingState.load(tmp_path / STATE_FILE)
    assert (state.epoch, state.step) == (0, STEPS)
    model = new_model()
    state.restore(model, tmp_path / STATE_FILE)
    progress = SaveProgress(tmp_path, state, steps=STEPS, save_every_s=1e9)
    left = {"initial_epoch": 0, "epochs": 1, "steps_per_epoch": 0}
    devices.fit(model, InputWait(), train, **left, validation_data=valid, callbacks=[progress])
    assert progress.history == [{name: values[0] for name, values in expected.items()}]
    for name, value in values_of(whole).items():
        if not name.startswith("metrics"):
            np.testing.assert_array_equal(values_of(model)[name], value, err_msg=name)
