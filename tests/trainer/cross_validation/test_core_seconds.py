import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.cross_validation.core_seconds import core_seconds
from trainer.scoring.metrics import Predictions
from trainer.scoring.saved_predictions import FoldPredictions


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch):
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 3)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])


@pytest.fixture
def parents(tmp_path):
    own = Predictions(np.full((1, 2), 0.5, np.float32), np.zeros(1, np.int32), ["a"], ("blues", "rock"))
    for name in ("time", "frequency"):
        (tmp_path / name).mkdir()
        FoldPredictions(own, 1, 1, 1, core_seconds=20.0).save(tmp_path / name / "predictions.npz")
    return [tmp_path / "time", tmp_path / "frequency"]


def test_threads_multiply_seconds(monkeypatch):
    assert core_seconds(5.0, went_on=False, parents=()) == 15.0
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 0)
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert core_seconds(5.0, went_on=False, parents=()) == 35.0


def test_a_training_that_was_interrupted_has_none():
    assert core_seconds(5.0, went_on=True, parents=()) is None


def test_parents_are_part_of_it(parents):
    assert core_seconds(5.0, went_on=False, parents=parents) == 55.0
    path = parents[1] / "predictions.npz"
    dataclasses.replace(FoldPredictions.load(path), core_seconds=None).save(path)
    assert core_seconds(5.0, went_on=False, parents=parents) is None


def test_other_than_tensorflows_threads_are_not_counted(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert core_seconds(5.0, went_on=False, parents=()) is None
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    assert core_seconds(5.0, went_on=False, parents=()) is None
