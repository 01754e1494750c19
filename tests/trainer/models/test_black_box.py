import pytest

from tfrecords.common.command_line import UserError
from trainer import models
from trainer.models import black_box


@pytest.mark.parametrize(("num_classes", "parameters"), [(8, 3_275_312), (10, 3_275_714)])
def test_size_and_shapes_of_the_paper(num_classes, parameters):
    model = black_box.build(num_classes=num_classes, input_shape=(80, 40, 1))
    assert model.count_params() == parameters
    shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers}
    assert shapes["convolution"] == (73, 29, 32)
    assert shapes["pooling"] == (73, 7, 32)
    assert shapes["dense"] == (200,)
    assert shapes["genre"] == (num_classes,)


@pytest.mark.parametrize(("num_classes", "parameters"), [(8, 2_363_440), (10, 2_363_842)])
def test_the_papers_longer_filters(num_classes, parameters):
    # 32 * (12 * 200 + 1) weights of filters; 51 frames x 7 pooled bands x 32 to 200 units; those to the classes.
    assert 76_832 + (51 * 7 * 32 * 200 + 200) + 200 * num_classes + num_classes == parameters
    options = {"num_classes": num_classes, "input_shape": (250, 40, 1), "filter_bands": 12, "filter_frames": 200}
    assert models.create("black_box", **options).count_params() == parameters


def test_the_smallest_patch_and_what_is_smaller():
    assert black_box.build(num_classes=2, input_shape=(8, 15, 1)).output_shape == (None, 2)
    with pytest.raises(UserError, match="need 8 frames, the patches have 7; take a larger `patch_frames`"):
        black_box.build(num_classes=2, input_shape=(7, 15, 1))
    with pytest.raises(UserError, match="need 15 mel bands, the patches have 14; take a larger `n_mels`"):
        black_box.build(num_classes=2, input_shape=(8, 14, 1))
