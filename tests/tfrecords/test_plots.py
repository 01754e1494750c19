import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfrecords import plots


def decode(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def spectrogram(frames=80, mel_bands=40, title="a track", seed=0):
    values = np.random.default_rng(seed).uniform(0, 5, (frames, mel_bands)).astype(np.float16)
    return plots.Spectrogram(values, title, 43.07)


def corner(style):
    return [int(style.paper[at : at + 2], 16) for at in (1, 3, 5)]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_grid_of_any_size_is_a_picture(count):
    pixels = decode(plots.spectrogram_grid([spectrogram(seed=seed) for seed in range(count)]))
    rows, columns = {1: (1, 1), 2: (1, 2), 7: (2, 4)}[count]
    assert pixels.shape[0] == pytest.approx(rows * 300, rel=0.45)
    assert pixels.shape[1] == pytest.approx(columns * max(2.3, 5.5 / columns) * plots.PIXELS_PER_INCH, rel=0.25)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    assert pixels[0, 0].tolist() == corner(plots.LIGHT)


def test_columns_and_style_are_heeded():
    items = [spectrogram(seed=seed) for seed in range(4)]
    wide, tall = (decode(plots.spectrogram_grid(items, columns=columns)) for columns in (4, 1))
    assert wide.shape[1] > wide.shape[0] and tall.shape[0] > wide.shape[0]
    assert decode(plots.spectrogram_grid(items, style=plots.DARK))[0, 0].tolist() == corner(plots.DARK)


def test_the_unit_stands_beside_the_scale():
    one, other = (decode(plots.spectrogram_grid([spectrogram()], unit=unit)).astype(int) for unit in ("a", "b"))
    assert one.shape == other.shape
    # Only there, at the right edge, do the pictures differ by more than their palettes do.
    assert set(np.flatnonzero((abs(one - other) > 64).any(axis=(0, 2))) * 10 // one.shape[1]) == {9}


def test_low_bands_are_at_the_bottom_and_time_runs_to_the_right():
    values = np.zeros((40, 20), np.float32)
    values[:20, :10] = 5  # first half of the time, lower half of the bands
    pixels = decode(plots.spectrogram_grid([plots.Spectrogram(values, "", 10.0)])).astype(int)
    height, width, _ = pixels.shape
    at = {
        (y, x): pixels[int(height * y), int(width * x)].sum() for y in (0.25, 0.55) for x in (0.3, 0.7)
    }  # inside each quarter of the panel
    assert at[0.55, 0.3] > 400 and max(at[0.25, 0.3], at[0.25, 0.7], at[0.55, 0.7]) < 100


def test_one_colour_scale_for_all_panels():
    loud, quiet = np.full((20, 10), 5.0), np.zeros((20, 10))
    both = decode(plots.spectrogram_grid([plots.Spectrogram(v, "", 10.0) for v in (loud, quiet)])).astype(int)
    y = both.shape[0] // 2
    assert both[y, both.shape[1] // 4].sum() > 600 and both[y, int(both.shape[1] * 0.7)].sum() < 100


@pytest.mark.parametrize(
    "values", [np.zeros((1, 1)), np.full((5, 4), np.nan), np.full((5, 4), -100.0), np.array([[1, np.inf], [0, -1]])]
)
@pytest.mark.filterwarnings("error")
def test_silence_and_single_values_are_drawn(values):
    assert decode(plots.spectrogram_grid([plots.Spectrogram(values, "x", 43.0)])).std() > 1


@pytest.mark.filterwarnings("error")
def test_hostile_titles_are_drawn_as_text():
    titles = ["$x^$", "a\udcff\0\n\tb", "<b>&\"'", "é" * 300, r"\frac{1}{"]
    assert decode(plots.spectrogram_grid([spectrogram(title=title) for title in titles])).std() > 1


def test_spectrograms_of_different_length_share_a_grid():
    assert decode(plots.spectrogram_grid([spectrogram(frames=1300), spectrogram(frames=10, mel_bands=128)])).std() > 1


def test_the_same_input_gives_the_same_bytes():
    assert plots.spectrogram_grid([spectrogram()]) == plots.spectrogram_grid([spectrogram()])


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"\[frames >= 1, mel_bands >= 1\]; got shape \(3,\)"):
        plots.Spectrogram(np.zeros(3), "", 1.0)
    with pytest.raises(ValueError, match=r"got shape \(0, 40\)"):
        plots.Spectrogram(np.zeros((0, 40)), "", 1.0)
    for frames_per_s in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="frames_per_s must be a number above 0; got"):
            plots.Spectrogram(np.zeros((2, 2)), "", frames_per_s)
    with pytest.raises(ValueError, match="got none"):
        plots.spectrogram_grid([])
    with pytest.raises(ValueError, match="columns must be at least 1; got 0"):
        plots.spectrogram_grid([spectrogram()], columns=0)


def test_importing_plots_imports_neither_tensorflow_nor_pyplot():
    code = "import sys, tfrecords.plots; print(sorted({'tensorflow', 'matplotlib.pyplot'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
