import io

import numpy as np
import pytest
from PIL import Image

from tfrecords.plots import DARK, LIGHT
from trainer import filter_plots, filters

FRAMES_PER_S = 22050 / 512


def decode(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def blue(pixels):
    """Where the colour of what is more than zero is."""
    return (np.abs(pixels - (0x00, 0x72, 0xB2)).sum(axis=2) < 30).sum()


@pytest.mark.parametrize("style", [LIGHT, DARK])
@pytest.mark.parametrize("number", [1, 7, 32])
@pytest.mark.filterwarnings("error")
def test_pictures_of_any_number_of_filters(number, style):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(60, number))
    rhythms = filters.rhythms(weights, FRAMES_PER_S)
    bands = rng.normal(size=(32, number))
    for png in (
        filter_plots.rhythm_grid(weights, rhythms, style=style),
        filter_plots.envelope_grid(bands, np.linspace(80, 5000, 32), ["81 Hz"] * number, style=style),
    ):
        pixels = decode(png)
        assert pixels.std() > 5 and 200 < pixels.shape[0] < 1300 and 200 < pixels.shape[1] < 2400


@pytest.mark.filterwarnings("error")
def test_filters_of_zeros_are_drawn():
    weights = np.zeros((60, 2))
    assert decode(filter_plots.rhythm_grid(weights, filters.rhythms(weights, FRAMES_PER_S))).std() > 1
    assert decode(filter_plots.envelope_grid(np.zeros((4, 2)), np.array([80.0, 160, 240, 320]), ["a", "b"])).std() > 1


def test_weights_above_zero_are_blue_and_below_orange():
    up = decode(filter_plots.envelope_grid(np.ones((8, 1)), np.linspace(80, 5000, 8), ["a"]))
    down = decode(filter_plots.envelope_grid(-np.ones((8, 1)), np.linspace(80, 5000, 8), ["a"]))
    assert blue(up) > 10_000 and blue(down) < 100


def test_the_heat_map_marks_what_it_is_told():
    scores = np.zeros((3, 5))
    names, columns = ["blues", "$x^$ \udcff", "rock"], ["81 Hz #0"] * 5
    plain = decode(filter_plots.activity_map(scores, names, columns, [[], [], []], style=LIGHT))
    marked = decode(filter_plots.activity_map(scores, names, columns, [[0], [], [4]], style=LIGHT))
    assert plain.shape == marked.shape
    assert 100 < (plain != marked).any(axis=2).sum() < 3000
    scores[1] = 2.5
    assert blue(decode(filter_plots.activity_map(scores, names, columns, [[], [], []], style=LIGHT))) > 5000


@pytest.mark.parametrize(
    ("bpm", "words"), [(30.0, "≤ 30 bpm"), (30.4, "≤ 30 bpm"), (118.4, "118 bpm"), (300.0, "≥ 300 bpm")]
)
def test_tempos_in_words(bpm, words):
    assert filter_plots.tempo_name(bpm) == words


def test_frequencies_in_words():
    assert [filter_plots.hz_name(hz) for hz in (81.2, 999.4, 1250.0)] == ["81 Hz", "999 Hz", "1.2 kHz"]
