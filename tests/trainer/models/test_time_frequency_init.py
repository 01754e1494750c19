import pytest

from trainer.models import time_frequency, time_frequency_init


@pytest.mark.parametrize(("num_classes", "parameters"), [(8, 196_816), (10, 197_218)])
def test_size_of_the_paper(num_classes, parameters):
    model = time_frequency_init.build(num_classes=num_classes, input_shape=(80, 40, 1))
    assert model.count_params() == parameters


def test_its_layers_are_those_of_time_frequency():
    options = {"num_classes": 3, "input_shape": (80, 40, 1), "filters": 2, "filter_frames": 9, "filter_bands": 7}
    own, other = time_frequency_init.build(**options, units=5), time_frequency.build(**options, units=5)

    def described(model):
        named = [(layer.name, type(layer), tuple(layer.output.shape)) for layer in model.layers]
        # Layers without a name of their own are numbered through the process.
        return [layer if "flatten" not in layer[0] else layer[1:] for layer in named if "input" not in layer[0]]

    assert described(own) == described(other)
    assert own.count_params() == other.count_params()
