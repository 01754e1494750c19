import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer import models
from trainer.models import frequency


@pytest.mark.parametrize(
    ("num_classes", "filter_bands", "parameters"), [(8, 32, 3_368), (10, 32, 3_946), (8, 30, 3_816), (10, 30, 4_522)]
)
def test_size_of_the_paper(num_classes, filter_bands, parameters):
    model = frequency.build(num_classes=num_classes, input_shape=(80, 40, 1), filter_bands=filter_bands)
    assert model.count_params() == parameters


@pytest.mark.parametrize("num_classes", [8, 10])
@pytest.mark.parametrize("filter_bands", range(30, 41))
def test_the_papers_sweep_of_heights(num_classes, filter_bands):
    options = {"num_classes": num_classes, "input_shape": (80, 40, 1), "filter_bands": filter_bands}
    places = 40 - filter_bands + 1
    expected = 32 * filter_bands + 32 + 32 * places * num_classes + num_classes
    assert models.create("frequency", **options).count_params() == expected


def test_shapes_of_the_paper():
    model = frequency.build(num_classes=10, input_shape=(80, 40, 1))
    shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers}
    assert shapes["convolution"] == (80, 9, 32)
    assert shapes["pooling"] == (1, 9, 32)
    assert shapes["genre"] == (10,)


def test_it_does_not_care_when_something_happens():
    model = frequency.build(num_classes=4, input_shape=(80, 40, 1))
    patch = np.random.default_rng(0).normal(size=(1, 80, 40, 1)).astype(np.float32)
    np.testing.assert_allclose(model.predict_on_batch(patch), model.predict_on_batch(patch[:, ::-1]), atol=1e-6)
    assert np.abs(model.predict_on_batch(patch) - model.predict_on_batch(patch[:, :, ::-1])).max() > 1e-5


def test_the_smallest_patch_and_what_is_smaller():
    assert frequency.build(num_classes=2, input_shape=(1, 32, 1)).output_shape == (None, 2)
    with pytest.raises(UserError, match="need 32 mel bands, the patches have 31; take a larger `n_mels`"):
        frequency.build(num_classes=2, input_shape=(80, 31, 1))
