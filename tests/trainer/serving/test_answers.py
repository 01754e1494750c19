import dataclasses
import io
import json

import numpy as np
import pytest
from matplotlib import image
from matplotlib.axes import Axes

from beam_preprocess.audio import Reject
from trainer.serving.answers import _with_gaps, as_json, as_text, reject_as_json, timeline_png
from trainer.serving.recognizer import Recognition


def recognition_of(timeline, *, note=None):
    timeline = np.array(timeline, np.float32).reshape(-1, 2)
    return Recognition(
        labels=("jazz", "electronic"),
        probabilities=timeline.sum(axis=0) / max(1, len(timeline)),
        timeline=timeline,
        starts_s=np.arange(len(timeline)) * 2.0,
        patch_s=2.0,
        duration_s=2.0 * len(timeline) + 0.5,
        log_mel=np.zeros((3, 4), np.float32),
        note=note,
    )


def test_text_puts_the_likeliest_first_and_draws_the_time():
    text = as_text("a.wav", recognition_of([[0.1, 0.9], [0.5, 0.5], [0.0, 1.0]]))
    assert text.splitlines() == [
        "a.wav: electronic 80.0 %",
        "  electronic  80.0 % |▇▄█|",
        "  jazz        20.0 % |▁▄ |",
        "                     a column is 2.00 s, the file 6.5 s",
    ]


def test_a_terminal_without_bars_gets_plain_characters():
    text = as_text("a.wav", recognition_of([[0.1, 0.9], [0.0, 1.0]]), encoding="ascii")
    assert "|#@|" in text
    text.encode("ascii")


def test_a_long_file_fits_into_a_line():
    text = as_text("a.wav", recognition_of([[0.0, 1.0]] * 100 + [[1.0, 0.0]] * 50))
    bars = text.splitlines()[1].partition("|")[2]
    assert bars == "█" * 33 + "▃" + " " * 16 + "|"
    assert "a column is 6.00 s, the file 300.5 s" in text


def test_json_is_one_line_with_everything():
    line = as_json("a\udcff\n.wav", recognition_of([[0.25, 0.75], [0.0, 1.0]]))
    assert "\n" not in line
    assert json.loads(line) == {
        "path": "a\udcff\n.wav",
        "genre": "electronic",
        "note": None,
        "probabilities": {"jazz": 0.125, "electronic": 0.875},
        "duration_s": 4.5,
        "patch_s": 2.0,
        "timeline": [
            {"start_s": 0.0, "probabilities": {"jazz": 0.25, "electronic": 0.75}},
            {"start_s": 2.0, "probabilities": {"jazz": 0.0, "electronic": 1.0}},
        ],
    }
    assert sum(json.loads(line)["probabilities"].values()) == pytest.approx(1)
    assert json.loads(reject_as_json("b", Reject("empty", "no samples"))) == {
        "path": "b",
        "reason": "empty",
        "detail": "no samples",
    }


def test_silence_is_said_to_have_no_genre():
    silent = recognition_of([], note="silent")
    assert as_text("a.wav", silent) == "a.wav: silent: no genre"
    assert json.loads(as_json("a.wav", silent)) == {
        "path": "a.wav",
        "genre": None,
        "note": "silent",
        "probabilities": None,
        "duration_s": 0.5,
        "patch_s": 2.0,
        "timeline": [],
    }


def test_channels_that_cancel_are_said():
    recognition = recognition_of([[0.25, 0.75]], note="channels cancel")
    first, second, *_ = as_text("a.wav", recognition).splitlines()
    assert first == "a.wav: electronic 75.0 %"
    assert second.startswith("  channels cancel: next to nothing is left")
    found = json.loads(as_json("a.wav", recognition))
    assert (found["genre"], found["note"]) == ("electronic", "channels cancel")


def test_labels_that_are_not_unicode_are_escaped():
    recognition = dataclasses.replace(recognition_of([[0.1, 0.9]]), labels=("jazz", "r\udcf6ck"))
    text = as_text("a.wav", recognition)
    assert text.splitlines()[0] == r"a.wav: r\udcf6ck 90.0 %"
    text.encode("utf-8")


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
