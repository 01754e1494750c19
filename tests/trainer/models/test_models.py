import numpy as np
import pytest

from tfrecords.command_line import UserError
from trainer import models

SHAPE = (80, 40, 1)


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_outputs_are_probabilities_of_each_patch_alone(name):
    model = models.create(name, num_classes=5, input_shape=SHAPE)
    patches = np.random.default_rng(0).normal(0, 3, (6, *SHAPE)).astype(np.float32)
    together = model.predict_on_batch(patches)
    assert (together.shape, together.dtype) == ((6, 5), np.float32)
    assert (together >= 0).all()
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    assert np.abs(together - together[0]).max() > 1e-4
    np.testing.assert_allclose(model.predict_on_batch(patches[3:4])[0], together[3], atol=1e-5)


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_a_model_is_named_as_it_is_asked_for(name):
    assert models.create(name, num_classes=2, input_shape=SHAPE).name == name


def test_options_reach_the_model():
    small = models.create("black_box", num_classes=2, input_shape=SHAPE, filters=1, units=3)
    assert small.count_params() == (12 * 8 + 1) + (73 * 7 * 3 + 3) + (3 * 2 + 2)


def test_mistakes():
    with pytest.raises(UserError, match=r"--model must be one of .*time.*, got 'tiem'"):
        models.create("tiem", num_classes=2, input_shape=SHAPE)
    with pytest.raises(UserError, match="num_classes must be at least 2, got 1"):
        models.create("time", num_classes=1, input_shape=SHAPE)
