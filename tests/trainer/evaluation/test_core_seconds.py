import dataclasses
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.evaluation.folds import CoreSeconds
from trainer.evaluation.metrics import Predictions
from trainer.evaluation.saved_predictions import FoldPredictions


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
