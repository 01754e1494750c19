import pytest

from trainer.models import cnn


@pytest.mark.parametrize(("num_classes", "parameters"), [(4, 186_724), (10, 187_498)])
def test_size_and_shapes(num_classes, parameters):
    model = cnn.build(num_classes=num_classes, input_shape=(80, 40, 1))
    assert model.count_params() == parameters
    shapes = [tuple(model.get_layer(f"pooling_{block}").output.shape[1:]) for block in (1, 2, 3, 4)]
    assert shapes == [(40, 20, 32), (20, 10, 64), (10, 5, 96), (5, 3, 128)]


def test_longer_patches_need_no_more_parameters():
    assert cnn.build(num_classes=4, input_shape=(256, 40, 1)).count_params() == 186_724
