import io

import numpy as np
import pytest
from PIL import Image

from tfrecords.plots import DARK, LIGHT
from trainer.reports import plots


def decode(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def history(epochs=20, names=("loss", "val_loss", "accuracy", "val_accuracy")):
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0.2, 0.8, epochs).tolist() for name in names}


@pytest.mark.parametrize(
    ("size", "name"),
    [(1, "a"), (2, "a"), (2, "an exceedingly long name of a genre nobody knows"), (10, "a"), (30, "a & b")],
)
@pytest.mark.filterwarnings("error")
def test_confusion_matrix_of_any_size(size, name):
    counts = np.random.default_rng(size).integers(0, 1500, (size, size))
    pixels = decode(plots.confusion_matrix(counts, [f"{name} {number}" for number in range(size)]))
    assert 150 < pixels.shape[0] < 3000 and 200 < pixels.shape[1] < 3000
    assert pixels.std() > 5


def test_a_cell_is_the_darker_the_larger_its_share_of_the_row():
    # The second genre has few tracks: it is the share that counts, not the number.
    pixels = decode(plots.confusion_matrix([[100, 0], [1, 1]], ["a", "b"])).sum(axis=2)
    cells = pixels[20:, 60:]  # the axes' upper left corner is near that of the picture
    assert cells.min() < 200 and (pixels == 765).mean() > 0.2
    dark = decode(plots.confusion_matrix([[100, 0], [1, 1]], ["a", "b"], style=DARK))
    assert dark[0, 0].tolist() == [0x17, 0x1C, 0x24]


@pytest.mark.filterwarnings("error")
def test_confusion_matrix_takes_hostile_names_and_empty_rows():
    names = ["$x^$", "<i>&", "a\udcff\n", ""]
    assert decode(plots.confusion_matrix(np.zeros((4, 4), int), names)).std() > 1


def test_confusion_matrix_refuses_what_does_not_fit():
    for counts, names in ((np.zeros((2, 3)), ["a", "b"]), (np.zeros((2, 2)), ["a"]), (np.zeros((0, 0)), [])):
        with pytest.raises(ValueError, match=r"confusion must be \[labels, labels\].*got shape"):
            plots.confusion_matrix(counts, names)


@pytest.mark.parametrize("epochs", [1, 2, 12, 300])
@pytest.mark.parametrize("style", [LIGHT, DARK])
@pytest.mark.filterwarnings("error")
def test_learning_curves_of_any_length(epochs, style):
    pixels = decode(plots.learning_curves(history(epochs), style=style))
    assert pixels.shape[1] > 2 * pixels.shape[0] > 600
    assert pixels.std() > 5


@pytest.mark.parametrize("names", [("loss",), ("accuracy", "val_accuracy"), ("loss", "accuracy", "learning_rate")])
@pytest.mark.filterwarnings("error")
def test_learning_curves_draw_what_there_is(names):
    assert decode(plots.learning_curves(history(names=names))).std() > 5


def test_learning_curves_with_a_diverged_loss():
    assert decode(plots.learning_curves(history() | {"val_loss": [float("nan")] * 20})).std() > 5


def test_learning_curves_refuse_what_they_cannot_draw():
    for bad in ({}, {"learning_rate": [0.1]}, {"loss": []}, {"loss": [1.0, 2.0], "accuracy": [0.5]}):
        with pytest.raises(ValueError, match="history must hold as many epochs"):
            plots.learning_curves(bad)


def test_the_epoch_that_was_kept_is_marked_where_it_is():
    curves = history()
    plain, third, fifteenth = (decode(plots.learning_curves(curves, best_epoch=epoch)) for epoch in (0, 3, 15))
    assert plain.shape == third.shape == fifteenth.shape
    # Below the legend, the two differ in their own epochs' columns alone: line and ring, in both pictures.
    columns = (third != fifteenth)[100:].any(axis=(0, 2)).nonzero()[0]
    groups = np.split(columns, np.flatnonzero(np.diff(columns) > 20) + 1)
    assert len(groups) == 4
    assert (plain != third).any()
