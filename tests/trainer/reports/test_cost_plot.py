import io

import numpy as np
import pytest
from PIL import Image

from tfrecords.plots import DARK, LIGHT
from trainer.reports import plots
from trainer.reports.plots import accuracy_against_cost


def decode(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


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


@pytest.mark.parametrize("count", [1, 2, 12])
@pytest.mark.parametrize("style", [LIGHT, DARK])
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
