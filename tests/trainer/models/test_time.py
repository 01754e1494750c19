import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer import models
from trainer.models import time


@pytest.mark.parametrize(("num_classes", "parameters"), [(8, 7_336), (10, 8_682)])
def test_size_and_shapes_of_the_paper(num_classes, parameters):
    model = time.build(num_classes=num_classes, input_shape=(80, 40, 1))
    assert model.count_params() == parameters
    shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers}
    assert shapes["convolution"] == (21, 40, 32)
    assert shapes["pooling"] == (21, 1, 32)
    assert shapes["genre"] == (num_classes,)


@pytest.mark.parametrize(
    ("num_classes", "filter_frames", "parameters"),
    [
        # 32 filters with a bias each; 250 - filter_frames + 1 places of each; a bias a class.
        (8, 60, 32 * 61 + 191 * 32 * 8 + 8),
        (10, 60, 32 * 61 + 191 * 32 * 10 + 10),
        (8, 200, 32 * 201 + 51 * 32 * 8 + 8),
        (10, 200, 32 * 201 + 51 * 32 * 10 + 10),
    ],
)
def test_the_papers_longer_patches(num_classes, filter_frames, parameters):
    options = {"num_classes": num_classes, "input_shape": (250, 40, 1), "filter_frames": filter_frames}
    assert models.create("time", **options).count_params() == parameters


def test_it_does_not_care_which_band_something_happens_in():
    model = time.build(num_classes=4, input_shape=(80, 40, 1))
    patch = np.random.default_rng(0).normal(size=(1, 80, 40, 1)).astype(np.float32)
    np.testing.assert_allclose(model.predict_on_batch(patch), model.predict_on_batch(patch[:, :, ::-1]), atol=1e-6)
    assert np.abs(model.predict_on_batch(patch) - model.predict_on_batch(patch[:, ::-1])).max() > 1e-5


def test_the_smallest_patch_and_what_is_smaller():
    assert time.build(num_classes=2, input_shape=(60, 1, 1)).output_shape == (None, 2)
    with pytest.raises(UserError, match="need 60 frames, the patches have 59; take a larger `patch_frames`"):
        time.build(num_classes=2, input_shape=(59, 40, 1))
