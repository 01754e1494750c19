import keras
import numpy as np
import pytest

from trainer.models import band_cnn, musical_cnn

SHAPE = (128, 40, 1)


@pytest.mark.parametrize(("num_classes", "parameters"), [(4, 136_708), (10, 137_290)])
def test_size(num_classes, parameters):
    model = musical_cnn.build(num_classes=num_classes, input_shape=SHAPE)
    assert model.count_params() == parameters < 1_000_000


def test_its_filters_are_high_or_long_or_square():
    model = musical_cnn.build(num_classes=4, input_shape=SHAPE)
    kinds = [model.get_layer(name) for name in ("timbre", "rhythm", "square")]
    assert [tuple(layer.kernel.shape) for layer in kinds] == [(1, 20, 1, 8), (31, 1, 1, 8), (3, 3, 1, 8)]
    assert {tuple(layer.output.shape[1:]) for layer in kinds} == {(64, 40, 8)}


def test_the_rest_is_band_cnns():
    ours, other = (each.build(num_classes=4, input_shape=SHAPE) for each in (musical_cnn, band_cnn))
    shapes = [[tuple(weight.shape) for weight in model.weights[-20:]] for model in (ours, other)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("batch", [1, 6, 32, 64])
def test_timbre_filters_compute_what_they_should(batch):
    model = musical_cnn.build(num_classes=4, input_shape=SHAPE, band_normalization=False)
    timbre = keras.Model(model.input, model.get_layer("timbre").output)
    patches = np.random.default_rng(batch).normal(size=(batch, *SHAPE)).astype(np.float32)
    (kernel,) = (keras.ops.convert_to_numpy(weight)[0, :, 0] for weight in model.get_layer("timbre").weights)
    padded = np.pad(patches[:, ::2, :, 0], ((0, 0), (0, 0), (9, 10)))
    expected = np.lib.stride_tricks.sliding_window_view(padded, 20, axis=2) @ kernel
    np.testing.assert_allclose(timbre.predict_on_batch(patches), expected, atol=1e-4)
