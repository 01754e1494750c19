import keras
import numpy as np
import pytest

from tfrecords.command_line import UserError
from trainer.models import band_cnn

SHAPE = (128, 40, 1)


@pytest.mark.parametrize(("num_classes", "parameters"), [(4, 136_444), (10, 137_026)])
def test_size_and_shapes(num_classes, parameters):
    model = band_cnn.build(num_classes=num_classes, input_shape=SHAPE)
    assert model.count_params() == parameters < 1_000_000
    assert tuple(model.get_layer("square").output.shape[1:]) == (64, 40, 24)
    shapes = [tuple(layer.output.shape[1:]) for layer in model.layers if "pooling" in layer.name]
    assert shapes == [(32, 20, 24), (16, 10, 48), (8, 5, 96), (4, 3, 96)]


def test_it_hears_neither_level_nor_equalisation():
    model = band_cnn.build(num_classes=4, input_shape=SHAPE)
    rng = np.random.default_rng(0)
    patches = rng.normal(2, 1, (2, *SHAPE)).astype(np.float32)
    shift, scale = rng.normal(0, 2, (1, 1, 40, 1)), rng.uniform(1, 3, (1, 1, 40, 1))
    mixed = (patches * scale + shift).astype(np.float32)
    np.testing.assert_allclose(model.predict_on_batch(mixed), model.predict_on_batch(patches), atol=1e-3)
    assert np.abs(model.predict_on_batch(patches[:, ::-1]) - model.predict_on_batch(patches)).max() > 1e-3


def test_a_patch_of_which_normalising_leaves_little_is_refused():
    band_cnn.build(num_classes=4, input_shape=(16, 40, 1))
    with pytest.raises(UserError, match="the model's filters need 16 frames, the patches have 15; take a larger"):
        band_cnn.build(num_classes=4, input_shape=(15, 40, 1))


def test_silence_and_a_constant_band_are_finite():
    model = band_cnn.build(num_classes=4, input_shape=SHAPE)
    assert np.isfinite(model.predict_on_batch(np.zeros((1, *SHAPE), np.float32))).all()


def test_it_is_saved_and_loaded(tmp_path):
    model = band_cnn.build(num_classes=4, input_shape=(32, 12, 1), filters=6)
    model.save(tmp_path / "model.keras")
    patches = np.random.default_rng(0).normal(size=(2, 32, 12, 1)).astype(np.float32)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict_on_batch(patches), model.predict_on_batch(patches), atol=1e-6)
