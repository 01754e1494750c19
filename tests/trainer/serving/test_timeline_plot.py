import io

import numpy as np
import pytest
from matplotlib import image
from matplotlib.axes import Axes

from trainer.serving.recognizer import Recognition
from trainer.serving.timeline_plot import _with_gaps, timeline_png


def draw(frames, *, labels=("jazz", "rock"), title="a.wav", note=None):
    rng = np.random.default_rng(0)
    patches = 0 if note == "silent" else frames // 80
    timeline = rng.dirichlet(np.ones(len(labels)), patches).astype(np.float32)
    recognition = Recognition(
        labels=tuple(labels),
        probabilities=timeline.sum(axis=0) / max(1, patches),
        timeline=timeline,
        starts_s=np.arange(patches) * 80 / 43.0,
        patch_s=80 / 43.0,
        duration_s=frames / 43.0,
        log_mel=rng.uniform(size=(frames, 40)).astype(np.float32),
        note=note,
    )
    return image.imread(io.BytesIO(timeline_png(title, recognition)))


@pytest.mark.parametrize("frames", [80, 90_000])
def test_any_length_has_one_size(frames):
    height, width, _ = draw(frames).shape
    assert 1800 < width < 2300
    assert 600 < height < 1000


def test_names_that_are_not_text_or_look_like_formulas_are_drawn():
    assert draw(200, title="odd\udcff\n$name$.wav" * 20, labels=("$a", "r\udcf6ck", "ja\nzz")).shape[1] < 2300


def test_labels_make_it_higher_and_a_note_is_part_of_the_title(monkeypatch):
    titles = []
    set_title = Axes.set_title
    monkeypatch.setattr(
        Axes, "set_title", lambda self, text, **how: titles.append(text) or set_title(self, text, **how)
    )
    plain, silent, _ = (draw(200, note=note).shape[0] for note in (None, "silent", "channels cancel"))
    assert silent < plain < draw(200, labels=[f"genre {index}" for index in range(10)]).shape[0] - 300
    assert titles[1] == "a.wav   silent: no genre"
    assert titles[2].partition("\n")[2].startswith("channels cancel: ")


def test_silence_is_drawn():
    recognition = Recognition(
        ("jazz", "rock"),
        np.array([0.5, 0.5], np.float32),
        np.full((1, 2), 0.5, np.float32),
        np.zeros(1),
        80 / 43,
        80 / 43,
        np.zeros((80, 40), np.float32),
    )
    assert timeline_png("silence.wav", recognition).startswith(b"\x89PNG")


def test_between_the_pieces_of_a_long_recording_is_paper():
    starts_s = np.array([0.0, 2.0, 5.0])
    timeline = np.array([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]], np.float32)
    recognition = Recognition(("a", "b"), timeline.mean(axis=0), timeline, starts_s, 2.0, 8.0, np.zeros((80, 40)))
    edges, shares = _with_gaps(recognition)
    assert edges.tolist() == [0, 2, 4, 5, 7]
    np.testing.assert_array_equal(shares, [timeline[0], timeline[1], [np.nan, np.nan], timeline[2]])
    assert timeline_png("long.wav", recognition).startswith(b"\x89PNG")
