import importlib
import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecords.common.command_line import UserError
from trainer import models
from trainer.models import musicnn

SHAPE = (187, 96, 1)


def patches(frames=187, count=3):
    return np.random.default_rng(1).uniform(0, 4, (count, frames, 96, 1)).astype(np.float32)


def as_published(x):
    """The network as its authors describe it, layer by layer, with all of its filters."""
    weights = musicnn.read_weights()

    def of(name, number):
        return lambda part: weights[f"{name}_{number}/{part}" if number else f"{name}/{part}"]

    def normalised(x, number):
        own = of("batch_normalization", number)
        return (x - own("moving_mean")) / np.sqrt(own("moving_variance") + 1e-3) * own("gamma") + own("beta")

    def convolved(x, number, padding):
        own = of("conv2d", number)
        return normalised(tf.nn.relu(tf.nn.conv2d(x, own("kernel"), 1, padding) + own("bias")), number + 1)

    x = normalised(x, 0)
    padded = tf.pad(x, [[0, 0], [3, 3], [0, 0], [0, 0]])
    found = [convolved(padded, number, "VALID") for number in (0, 1)]
    found += [convolved(x, number, "SAME") for number in (2, 3, 4)]
    front = tf.concat([tf.reduce_max(each, axis=2) for each in found], axis=-1)
    layers = [front]
    for number in (5, 6, 7):
        wide = tf.pad(layers[-1], [[0, 0], [3, 3], [0, 0]])[..., tf.newaxis]
        own = convolved(wide, number, "VALID")[:, :, 0]
        layers.append(own if number == 5 else own + layers[-1])
    frames = tf.concat(layers, axis=-1)
    pooled = tf.stack([tf.reduce_max(frames, axis=1), tf.reduce_mean(frames, axis=1)], axis=-1)
    pooled = normalised(tf.reshape(pooled, [len(x), -1]), 9)
    units = normalised(tf.nn.relu(pooled @ weights["dense/kernel"] + weights["dense/bias"]), 10)
    return tf.sigmoid(units @ weights["dense_1/kernel"] + weights["dense_1/bias"]).numpy()


@pytest.mark.parametrize("frames", [187, 70])
def test_tags_are_those_of_the_network_with_all_of_its_filters(fake_musicnn, frames):
    found = musicnn.tagger(patch_frames=frames).predict_on_batch(patches(frames))
    assert found.shape == (3, 50) and np.ptp(found) > 0.1
    np.testing.assert_allclose(found, as_published(patches(frames)), atol=2e-5)
    assert "musicnn" not in sys.modules


def test_tags_at_one_loudness_do_not_depend_on_the_gain(fake_musicnn):
    tagger = musicnn.tagger(at_one_loudness=True)
    louder = np.log10(1 + 10 * (10 ** patches().astype(np.float64) - 1))
    found = tagger.predict_on_batch(patches())
    np.testing.assert_allclose(tagger.predict_on_batch(louder.astype(np.float32)), found, atol=1e-4)
    assert np.abs(musicnn.tagger().predict_on_batch(patches()) - found).max() > 1e-3


def test_probabilities_do_not_depend_on_the_gain(fake_musicnn, tmp_path):
    model = models.create("musicnn", num_classes=4, input_shape=SHAPE)
    found = model.predict_on_batch(patches())
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    louder = np.log10(1 + 10 * (10 ** patches().astype(np.float64) - 1))
    np.testing.assert_allclose(model.predict_on_batch(louder.astype(np.float32)), found, atol=1e-4)
    assert np.isfinite(model.predict_on_batch(np.zeros((1, *SHAPE), np.float32))).all()
    # Keras alone reads it again.
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        keras.models.load_model(tmp_path / "model.keras").predict_on_batch(patches()), found, atol=1e-6
    )


def test_what_is_trained_on_are_the_layers_after_the_filters(fake_musicnn):
    model = models.create("musicnn", num_classes=4, input_shape=SHAPE)
    layers = {variable.path.partition("/")[0] for variable in model.trainable_variables}
    assert layers == {"middle_1", "middle_2", "middle_3", "units", "labels"}


def test_tags_and_which_are_genres():
    assert len(set(musicnn.TAGS)) == 50 and set(musicnn.GENRE_TAGS) < set(musicnn.TAGS)
    assert {"rock", "jazz", "Hip-Hop", "country"} < set(musicnn.GENRE_TAGS)
    assert not {"happy", "80s", "female vocalist", "guitar"} & set(musicnn.GENRE_TAGS)


def test_other_spectrograms_are_refused(fake_musicnn):
    with pytest.raises(UserError, match=r"needs 96 mel bands, got 40; preprocess with --preset=musicnn$"):
        models.create("musicnn", num_classes=4, input_shape=(80, 40, 1))


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"install it: pip install --no-deps musicnn==0\.1\.0$"):
        musicnn.tagger()


def truncate(folder):
    data = folder / ".data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])


@pytest.mark.parametrize("damage", [truncate, shutil.rmtree])
def test_weights_that_cannot_be_read(musicnn_package, monkeypatch, tmp_path, damage):
    shutil.copytree(musicnn_package, tmp_path / "site")
    damage(tmp_path / "site" / "musicnn" / "MSD_musicnn")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(UserError, match=r"MSD_musicnn: not the weights of musicnn 0\.1\.0 \(.*\); install it: [^\n]*$"):
        musicnn.read_weights()


def test_weights_of_another_shape(fake_musicnn, monkeypatch):
    shapes = musicnn._variable_shapes() | {"dense/bias": (7,)}
    monkeypatch.setattr(musicnn, "_variable_shapes", lambda: shapes)
    with pytest.raises(UserError, match=r"dense/bias must be \(7,\), got \(200,\)"):
        musicnn.read_weights()


@pytest.mark.skipif(importlib.util.find_spec("musicnn") is None, reason="the published weights are not installed")
def test_the_published_weights():
    model = musicnn.tagger()
    found = model.predict_on_batch(patches())
    np.testing.assert_allclose(found, as_published(patches()), atol=1e-5)
    # Of 561 first filters, and one of ones.
    assert model.get_layer("front").output.shape == (None, 187, 65)
