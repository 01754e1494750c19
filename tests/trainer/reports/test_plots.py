import io

import numpy as np
import pytest
from PIL import Image

from tfrecords.plots import DARK, LIGHT
from trainer.reports import plots
from trainer.reports.plots import accuracy_against_cost


def decode(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def history(epochs=20, names=("loss", "val_loss", "accuracy", "val_accuracy")):
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0.2, 0.8, epochs).tolist() for name in names}


@pytest.mark.parametrize(
    ("size", "name"),
    [(1, "a"), (2, "an exceedingly long name of a genre nobody knows"), (20, "a & b")],
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


@pytest.mark.parametrize(("epochs", "style"), [(1, LIGHT), (2, DARK), (300, LIGHT)])
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


def entry(number, *, seconds=10.0, recipe="modern", flags="", model="time"):
    accuracy = 0.4 + 0.03 * (number % 9)
    return {
        "model": model,
        "recipe": recipe,
        "flags": flags,
        "parameters": 10 ** (number % 8),
        "core_seconds": {"mean": None if seconds is None else seconds * 1.7**number},
        "track_accuracy": accuracy,
        "interval": [accuracy - 0.1, accuracy + 0.08],
    }


def compared(entries):
    return {"data": {"chance": 0.25}, "entries": dict(enumerate(entries))}


def pixels_of(picture, colour):
    rgb = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return int((picture == rgb).all(axis=2).sum())


@pytest.mark.parametrize(("count", "style"), [(1, LIGHT), (2, DARK), (12, LIGHT)])
@pytest.mark.filterwarnings("error")
def test_any_number_of_entries_has_one_size(count, style):
    recipes = ("modern", "cbmi2016", "augmented")
    entries = [entry(number, recipe=recipes[number % 3]) for number in range(count)]
    picture = decode(accuracy_against_cost(compared(entries), style=style))
    assert 1500 < picture.shape[1] < 1700 and 950 < picture.shape[0] < 1100
    assert picture[0, 0].tolist() == [int(style.paper[at : at + 2], 16) for at in (1, 3, 5)]


def test_each_recipe_has_its_colour():
    one, other = plots._COLOURS[:2]
    alone = decode(accuracy_against_cost(compared([entry(0), entry(1)])))
    both = decode(accuracy_against_cost(compared([entry(0), entry(1, recipe="cbmi2016")])))
    assert pixels_of(alone, one) > 300 and not pixels_of(alone, other)
    assert pixels_of(both, one) > 300 and pixels_of(both, other) > 300


@pytest.mark.filterwarnings("error")
def test_entries_of_one_cost_stand_side_by_side():
    entries = [entry(0), entry(0), entry(0, recipe="cbmi2016")]
    figure = plots.new_figure((8, 4), LIGHT)
    axes = figure.add_axes((0, 0, 1, 1))
    costs, _ = plots._costs(entries)
    plots._set_up(axes, costs, "cost", compared(entries), LIGHT)
    xs = plots._side_by_side(axes, costs)
    pixels = axes.transData.transform([(x, 0.5) for x in xs])[:, 0]
    assert np.diff(pixels) == pytest.approx([28, 28])
    assert xs[1] == pytest.approx(costs[1])
    assert accuracy_against_cost(compared(entries)).startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_numbers_that_cover_nothing_lead_to_names_beside_the_axes(monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "png", drawn.append)
    more = [entry(0, model="cnn", recipe="augmented"), entry(4, model="black_box", flags="seed=1")]
    accuracy_against_cost(compared([*[entry(0)] * 10, *more]))
    (figure,) = drawn
    figure.canvas.draw()
    (axes,), (recipes, names) = figure.axes, figure.legends
    numbers = [text.get_window_extent() for text in axes.texts if text.get_text().isdecimal()]
    assert len(numbers) == 12
    assert not any(one.overlaps(other) for at, one in enumerate(numbers) for other in numbers[:at])
    assert [text.get_text() for text in recipes.get_texts()] == ["modern", "augmented"]
    found = [text.get_text() for text in names.get_texts()]
    assert found == [*(f"{number}  time (1)" for number in range(1, 11)), "11  cnn (1)", "12  black_box (10 k)\nseed=1"]
    assert names.get_window_extent().x0 > axes.get_window_extent().x1


def test_parameters_take_the_place_of_times_that_were_not_measured():
    timed = [entry(0, seconds=60.0), entry(4)]
    assert plots._costs(timed)[0] == [60.0, 10.0 * 1.7**4]
    assert plots._costs([timed[0], entry(4, seconds=None)]) == ([1.0, 10_000.0], "parameters")


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (950, "950"), (4644, "4.6 k"), (196_012, "196 k"), (999_700, "1.0 M"), (3_275_312, "3.3 M")],
)
def test_parameters_are_rounded(count, words):
    assert plots._rounded(count) == words


@pytest.mark.filterwarnings("error")
def test_hostile_names_are_drawn():
    entries = [entry(0, model="$x^$\udcff\n", flags="augment=" + "mixup_alpha=0.2," * 20), entry(1)]
    assert decode(accuracy_against_cost(compared(entries))).shape[1] < 2000
