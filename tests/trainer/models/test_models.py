import numpy as np
import pytest

from tfrecords.common.command_line import UserError
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


@pytest.mark.parametrize(
    ("settings", "options"),
    [("", {}), ("filter_bands=30", {"filter_bands": 30}), (" filters = 3 ,units=7,", {"filters": 3, "units": 7})],
)
def test_options_are_read_as_a_command_line_gives_them(settings, options):
    assert models.parse_options(settings) == options


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("filters=1.5", "`filters` must be a whole number, got '1.5'; write filters=32"),
        ("filters", "`filters` must be a whole number, got ''; write filters=32"),
        ("filters=2,filters=2", "`filters` is given twice"),
    ],
)
def test_options_that_are_none(settings, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        models.parse_options(settings)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("black_box", "filters, filter_bands, filter_frames, pool_bands, units"),
        ("time", "filters, filter_frames"),
        ("frequency", "filters, filter_bands"),
        ("time_frequency", "filters, filter_frames, filter_bands, units"),
        ("time_frequency_init", "filters, filter_frames, filter_bands, units"),
        ("cnn", "filters"),
    ],
)
def test_an_option_that_a_model_does_not_have(name, options):
    message = rf"^the model {name} has no option 'height'; its `model_options` are {options}$"
    with pytest.raises(UserError, match=message):
        models.create(name, num_classes=2, input_shape=SHAPE, height=3)


def test_an_option_is_at_least_1():
    with pytest.raises(UserError, match=r"^`model_options`: filters must be at least 1, got 0$"):
        models.create("cnn", num_classes=2, input_shape=SHAPE, filters=0)


def test_mistakes():
    with pytest.raises(UserError, match=r"^`model` must be one of .*time.*, got 'tiem'"):
        models.create("tiem", num_classes=2, input_shape=SHAPE)
    with pytest.raises(UserError, match="`num_classes` must be at least 2, got 1"):
        models.create("time", num_classes=1, input_shape=SHAPE)
