import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer.models import time_frequency


@pytest.mark.parametrize(("num_classes", "parameters"), [(8, 196_816), (10, 197_218)])
def test_size_and_shapes_of_the_paper(num_classes, parameters):
    model = time_frequency.build(num_classes=num_classes, input_shape=(80, 40, 1))
    assert model.count_params() == parameters
    shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers}
    assert shapes["time_pooling"] == (21, 1, 32)
    assert shapes["frequency_pooling"] == (1, 9, 32)
    assert shapes["both"] == (960,)
    assert shapes["genre"] == (num_classes,)


def test_it_hears_both_when_and_where():
    model = time_frequency.build(num_classes=4, input_shape=(80, 40, 1))
    patch = np.random.default_rng(0).normal(size=(1, 80, 40, 1)).astype(np.float32)
    for other in (patch[:, ::-1], patch[:, :, ::-1]):
        assert np.abs(model.predict_on_batch(patch) - model.predict_on_batch(other)).max() > 1e-5


def test_the_smallest_patch_and_what_is_smaller():
    assert time_frequency.build(num_classes=2, input_shape=(60, 32, 1)).output_shape == (None, 2)
    with pytest.raises(UserError, match="need 60 frames, the patches have 59"):
        time_frequency.build(num_classes=2, input_shape=(59, 32, 1))
    with pytest.raises(UserError, match="need 32 mel bands, the patches have 31"):
        time_frequency.build(num_classes=2, input_shape=(60, 31, 1))
