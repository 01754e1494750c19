import numpy as np
import pytest

from trainer.evaluation.confidence import Confidence, load_confidence
from trainer.evaluation.metrics import tracks
from trainer.evaluation.predictions import load_model, predict
from trainer.evaluation.summary import read_groups
from trainer.training import calibrate
from trainer.training.calibrate import PatchUnits
from trainer.training_job import TrainingJob


def test_what_is_kept_is_what_the_validation_tracks_tell(trained, tiny):
    job = TrainingJob.load(trained)
    confidence, familiarity = load_confidence(trained)
    predictions = tracks(predict(job, load_model(trained), job.data_dir, job.parts.valid, familiarity=familiarity))
    groups = read_groups(tiny.manifest, job.data_dir, job.parts.valid)
    expected = Confidence.fit(
        predictions.mean_probabilities,
        predictions.labels,
        [groups[track_id] for track_id in predictions.track_ids],
        predictions.distances,
    )
    assert confidence.calibration.tracks == len(predictions.track_ids)
    for name in ("sure_from", "farthest"):
        assert getattr(confidence, name) == pytest.approx(getattr(expected, name), rel=1e-3)
    assert confidence.calibration.temperature == pytest.approx(expected.calibration.temperature, rel=1e-3)


def test_distances_are_measured_from_training_patches(trained):
    job = TrainingJob.load(trained)
    familiarity = load_confidence(trained)[1]
    predictions = predict(job, load_model(trained), job.data_dir, job.parts.train, familiarity=familiarity)
    # Patches vary by 1 along each axis, and tracks by less.
    assert predictions.distances.keys() == set(predictions.track_ids)
    assert -0.5 < np.mean(list(predictions.distances.values())) < 1


def test_of_many_patches_some_batches_do(trained, monkeypatch):
    import keras

    job, model = TrainingJob.load(trained), load_model(trained)
    network = keras.Model(model.inputs, model.layers[-1].input)
    monkeypatch.setattr(calibrate, "_BATCH", 4)
    everything = calibrate.run(network, job, job.parts.train)
    some = calibrate.run(network, job, job.parts.train, most=len(everything.units) // 2)
    assert 0 < len(some.units) <= len(everything.units) // 2 + 4
    assert set(some.groups) <= set(everything.groups)


def test_means_are_over_each_tracks_patches():
    patches = PatchUnits(np.array([[1.0], [3.0], [7.0]]), np.array([1, 1, 0]), np.array([5, 6]), np.array(["a", "b"]))
    assert patches.means(patches.units).tolist() == [[7.0], [2.0]]
    assert patches.means(np.array([1, 3, 7])).tolist() == [7.0, 2.0]
    assert patches.counts.tolist() == [1, 2]
