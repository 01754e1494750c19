import dataclasses

import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer.evaluation.metrics import Predictions
from trainer.evaluation.saved_predictions import FoldPredictions


@pytest.fixture
def saved(tmp_path):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 5).astype(np.float32)
    labels = np.array([2, 0, 2, 0, 2], np.int32)
    track_ids = ["b/\udcff é.wav", "a", "b/\udcff é.wav", "a", "c"]
    predictions = Predictions(probabilities, labels, track_ids, ("blues", "\udce9", "rock"))
    fold = FoldPredictions(predictions, parameters=8682, epochs=31, best_epoch=23)
    fold.save(tmp_path / "predictions.npz")
    return fold, tmp_path / "predictions.npz"


def test_what_is_saved_is_what_is_loaded(saved):
    fold, path = saved
    found = FoldPredictions.load(path)
    np.testing.assert_array_equal(found.predictions.probabilities, fold.predictions.probabilities)
    np.testing.assert_array_equal(found.predictions.labels, fold.predictions.labels)
    assert found.predictions.track_ids == fold.predictions.track_ids
    assert found.predictions.label_names == fold.predictions.label_names
    assert (found.parameters, found.epochs, found.best_epoch) == (8682, 31, 23)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_core_seconds_are_kept_and_files_without_them_are_read(saved, tmp_path):
    fold, path = saved
    assert FoldPredictions.load(path).core_seconds is None
    with np.load(path) as arrays:
        arrays = dict(arrays)
    dataclasses.replace(fold, core_seconds=12.625).save(path)
    assert FoldPredictions.load(path).core_seconds == 12.625
    # Earlier versions measured something else.
    np.savez(path, **arrays, core_seconds=np.array(9.0))
    assert FoldPredictions.load(path).core_seconds is None


@pytest.mark.parametrize("keep", [0, 100, -200])
def test_a_torn_file_is_one_line(saved, keep):
    _, path = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=rf"^{path}: not the predictions of a fold .* delete it"):
        FoldPredictions.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="not the predictions of a fold"):
        FoldPredictions.load(tmp_path / "predictions.npz")
