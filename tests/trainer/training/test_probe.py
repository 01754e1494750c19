import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from beam_preprocess.audio.front_end import PRESETS
from tfrecords.common import files
from tfrecords.common.command_line import UserError
from trainer import train
from trainer.evaluation.confidence import load_confidence
from trainer.evaluation.predictions import load_model, with_units
from trainer.models import musicnn
from trainer.train import make_job
from trainer.training import probe
from trainer.training.calibrate import PatchUnits
from trainer.training.probe import Units
from trainer.training_job import read_history

FRONT_END = dataclasses.asdict(PRESETS["musicnn"])


def units(tracks=60, values=5, seed=0, signal=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, tracks)
    means = rng.normal(3, [1, 2, 3, 4, 5][:values], (tracks, values)) + signal * np.eye(3, values)[labels]
    return Units(means, labels, np.array([f"artist {number // 2}" for number in range(tracks)]))


@pytest.fixture
def data(fake_musicnn, write_dataset, tmp_path):
    return write_dataset(
        tmp_path / "data",
        parts=("fold_0", "fold_1", "fold_2"),
        mel_bands=96,
        front_end=FRONT_END,
        frames=(187, 400),
        segments=2,
        tracks_per_label=3,
    )


def trained(job, job_dir):
    job_dir.mkdir()
    train.train(job, job_dir)
    return load_model(job_dir)


def job_of(train_flags, data, *arguments):
    return make_job(train_flags(f"--data_dir={data.path}", "--model=musicnn", *arguments))


def test_the_solution_is_that_of_scikit_learn():
    own = units()
    head = probe.fit(own, num_labels=3, l2=4.0)
    standard = (own.means - own.means.mean(axis=0)) / own.means.std(axis=0)
    theirs = LogisticRegression(C=1 / 4, tol=1e-8, max_iter=1000).fit(standard, own.labels)
    np.testing.assert_allclose(np.exp(head.log_probabilities(own.means)), theirs.predict_proba(standard), atol=1e-3)
    np.testing.assert_allclose(head.weights, theirs.coef_.T, atol=1e-3)


def test_weights_are_those_of_scikit_learn():
    own = units()
    weights = np.array([0.5, 2, 1])
    head = probe.fit(own, num_labels=3, l2=4.0, weights=weights)
    standard = (own.means - own.means.mean(axis=0)) / own.means.std(axis=0)
    theirs = LogisticRegression(C=1 / 4, tol=1e-8, max_iter=1000, class_weight=dict(enumerate(weights)))
    theirs.fit(standard, own.labels)
    np.testing.assert_allclose(np.exp(head.log_probabilities(own.means)), theirs.predict_proba(standard), atol=1e-3)


def test_folds_tear_no_group_apart():
    groups = np.random.default_rng(0).integers(0, 11, 200)
    folds = probe.group_folds(groups, 4)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    assert np.ptp(np.bincount(folds, minlength=4)) < 30
    assert probe.group_folds(["a", "a"], 4).tolist() == [0, 0]


def test_strength_is_chosen_by_what_groups_outside_of_the_fit_lose():
    assert probe.choose_l2(units(signal=0.0), num_labels=3) == max(probe._L2)
    assert probe.choose_l2(units(signal=20.0), num_labels=3) == min(probe._L2)
    alone = units()._replace(groups=np.full(60, "one artist"))
    assert probe.choose_l2(alone, num_labels=3) == probe._USUAL_L2


def test_a_probe_is_trained_kept_and_served(data, train_flags, tmp_path, monkeypatch):
    job = job_of(train_flags, data)
    assert (job.statistics.mean == 0).all() and (job.statistics.scale == 1).all()
    assert job.parts.train == ("fold_0", "fold_1")
    model, new = trained(job, tmp_path / "job"), musicnn.build(num_classes=3, input_shape=(187, 96, 1))
    for layer in new.layers:
        if layer.weights and layer.name not in (musicnn.STANDARDIZE_LAYER, musicnn.HEAD_LAYER):
            for own, published in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
                np.testing.assert_array_equal(own, published)
    history = read_history(tmp_path / "job")
    assert {"loss", "accuracy"} <= history.keys() and history["accuracy"][0] > 0.8
    # Another training on the same parts takes what was computed, and has the same weights.
    monkeypatch.setattr(probe, "compute_units", None)
    again = trained(job, tmp_path / "again")
    for own, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


def test_without_validation_the_training_tracks_tell_what_answers_are_worth(data, train_flags, tmp_path):
    model = trained(job_of(train_flags, data), tmp_path / "job")
    confidence, familiarity = load_confidence(tmp_path / "job")
    records = [record for part in ("fold_0", "fold_1") for record in data.records[part]]
    assert confidence.calibration.tracks == len({record.track_id for record in records})
    assert confidence.calibration.groups == len({record.group for record in records})
    assert familiarity.axes.shape[0] == 200 and len(familiarity.centers) == 3
    # The distances are of what the model's last layer gets.
    patch = next(record.log_mel for record in records if len(record.log_mel) >= 187)[np.newaxis, :187, :, np.newaxis]
    units = with_units(model).predict_on_batch(patch.astype(np.float32))[1]
    assert -1 < familiarity.distances(np.asarray(units), np.ones(1))[0] < 5


def test_with_validation_its_tracks_tell(data, train_flags, tmp_path):
    trained(job_of(train_flags, data, "--valid_fold=1"), tmp_path / "job")
    confidence, familiarity = load_confidence(tmp_path / "job")
    assert confidence.calibration.tracks == len({record.track_id for record in data.records["fold_1"]})
    assert familiarity is not None


def test_each_track_is_judged_by_what_was_fitted_to_other_groups():
    # More units than tracks, and nothing to learn: a layer names the tracks that it was fitted to, and no others.
    own = units(tracks=40)._replace(means=np.random.default_rng(0).normal(size=(40, 60)))
    patches = PatchUnits(own.means.astype(np.float32), np.arange(40), own.labels, own.groups)
    folds = probe.group_folds(own.groups, 4)
    probabilities, distances = probe.cross_fit(patches, patches, folds, num_labels=3, l2=0.01)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    seen = probe.fit(own, num_labels=3, l2=0.01).log_probabilities(own.means).argmax(axis=1)
    assert (probabilities.argmax(axis=1) == own.labels).mean() < 0.6 < 0.95 < (seen == own.labels).mean()
    assert np.median(distances) > np.median(patches.distances(patches.familiarity()))


def test_units_are_means_over_all_patches_of_a_track(data, train_flags):
    job = job_of(train_flags, data)
    network = musicnn.feature_model(musicnn.build(num_classes=3, input_shape=(187, 96, 1)))
    found = probe.compute_units(network, iter(data.records["fold_0"]), patch_frames=job.patch_frames)
    tracks = {record.track_id: record for record in data.records["fold_0"]}
    assert found.labels.tolist() == [record.label for record in tracks.values()]
    assert found.groups.tolist() == [record.group for record in tracks.values()]
    last = [record.log_mel for record in data.records["fold_0"] if record.track_id == list(tracks)[-1]]
    cut = [log_mel[start : start + 187] for log_mel in last for start in range(0, len(log_mel) - 186, 187)]
    expected = network.predict_on_batch(np.stack(cut)[..., np.newaxis].astype(np.float32)).mean(axis=0)
    np.testing.assert_allclose(probe.over_tracks(found).means[-1], expected, atol=1e-5)


def test_what_is_kept_is_that_of_the_very_patches(data, train_flags, capsys):
    model = musicnn.build(num_classes=3, input_shape=(187, 96, 1))
    job = job_of(train_flags, data, "--valid_fold=1")
    row = probe.start(model, job)
    assert row.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert capsys.readouterr().out.count("computes") == 2
    # A file that is damaged is written anew.
    for path in files.user_cache_dir().iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert probe.start(model, job) == row
    assert capsys.readouterr().out.count("computes") == 2
    probe.start(model, job)
    assert capsys.readouterr().out.count("computes") == 0
    probe.start(model, dataclasses.replace(job, fingerprint="e" * 64))
    assert capsys.readouterr().out.count("computes") == 2


def test_where_nothing_can_be_kept_the_training_says_so(data, train_flags, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    probe.start(musicnn.build(num_classes=3, input_shape=(187, 96, 1)), job_of(train_flags, data))
    assert "are not kept for the next training: " in capsys.readouterr().out


@pytest.mark.slow
def test_other_recipes_begin_with_the_probe(data, train_flags, tmp_path, monkeypatch):
    flags = ("--recipe=augmented", "--epochs=1", "--learning_rate=1e-9", "--augment=", "--patch_mode=windows")
    job = job_of(train_flags, data, *flags)
    jobs = {"tuned": job, "probe": job_of(train_flags, data)}
    tuned, solved = (
        trained(own, tmp_path / name).get_layer(musicnn.HEAD_LAYER).get_weights() for name, own in jobs.items()
    )
    np.testing.assert_allclose(tuned[0], solved[0], atol=1e-5)


def test_a_dataset_of_another_front_end_is_refused(fake_musicnn, tiny, train_flags):
    with pytest.raises(UserError, match="`model=musicnn` hears spectrograms as --preset=musicnn makes them"):
        job_of(train_flags, tiny)
