import dataclasses
import io

import keras
import numpy as np
import pytest
from PIL import Image

from tfrecords.manifest import FILE_NAME, BandStatistics
from tfrecords.plots import DARK, LIGHT
from trainer import models
from trainer.evaluation.predictions import load_model
from trainer.reports import filter_analysis, filter_plots
from trainer.training_job import TrainingJob

FRAMES_PER_S = 22050 / 512


def decode(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def blue(pixels):
    """Where the colour of what is more than zero is."""
    return (np.abs(pixels - (0x00, 0x72, 0xB2)).sum(axis=2) < 30).sum()


@pytest.mark.parametrize(("number", "style"), [(1, LIGHT), (7, DARK), (32, LIGHT)])
@pytest.mark.filterwarnings("error")
def test_pictures_of_any_number_of_filters(number, style):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(60, number))
    rhythms = filter_analysis.rhythms(weights, FRAMES_PER_S)
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
    assert decode(filter_plots.rhythm_grid(weights, filter_analysis.rhythms(weights, FRAMES_PER_S))).std() > 1
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


@pytest.fixture
def figures(monkeypatch):
    """The pictures drawn, before they become files."""
    drawn = []
    monkeypatch.setattr(filter_plots, "png", lambda figure: drawn.append(figure) or b"")
    return drawn


def vertical_at(axes):
    """Where lines go straight up over the lower half of the first small picture."""
    segments = [path for lines in axes.collections for path in getattr(lines, "get_segments", list)()]
    return [start[0] for start, end in segments if start[0] == end[0] and end[1] - start[1] > 0.3]


@pytest.mark.parametrize(("frames_per_s", "bpm", "share"), [(FRAMES_PER_S, 120, 90 / 270), (6.0, 120, 90 / 150)])
def test_curve_and_marker_are_at_the_filters_tempo(figures, frames_per_s, bpm, share):
    weights = np.cos(2 * np.pi * bpm / 60 * np.arange(200) / frames_per_s)[:, np.newaxis]
    filter_plots.rhythm_grid(weights, filter_analysis.rhythms(weights, frames_per_s))
    (axes,) = figures[0].axes
    over_time, curve = (line.get_xydata() for line in axes.lines)
    left, right = over_time[[0, -1], 0]
    assert curve[[0, -1], 0] == pytest.approx([left, right])
    at = left + share * (right - left)
    assert curve[curve[:, 1].argmax(), 0] == pytest.approx(at, abs=0.01)
    assert vertical_at(axes) == pytest.approx([at], abs=0.01)
    ticks = [text.get_text() for text in axes.texts if text.get_text().isdecimal()]
    assert ticks == ["60", "120", "180", "240"][: 4 if frames_per_s > 10 else 3]


def test_each_envelope_is_its_own_filter(figures):
    weights = np.zeros((8, 2))
    weights[6, 0], weights[1, 1] = 1, -1
    weights[2, 1] = 0.5
    filter_plots.envelope_grid(weights, np.linspace(80, 5000, 8), ["high", "low"])
    (axes,) = figures[0].axes
    titles = [text.get_text() for text in axes.texts if text.get_text() in ("high", "low")]
    assert titles == ["low", "high"]
    for line, number in zip(axes.lines, (1, 0), strict=True):
        heights = line.get_ydata() - line.get_ydata()[0]
        assert heights / np.abs(heights).max() == pytest.approx(weights[:, number] / np.abs(weights[:, number]).max())


def test_columns_of_the_heat_map_are_those_of_their_names(figures):
    scores = np.array([[-1.0, 0.0, 1.0], [2.0, -2.0, 0.5]])
    filter_plots.activity_map(scores, ["blues", "jazz"], ["a", "b", "c"], [[2], [0]], style=LIGHT)
    axes = figures[0].axes[0]
    assert np.array_equal(axes.images[0].get_array(), scores)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["blues", "jazz"]
    assert axes.collections[0].get_offsets().tolist() == [[2, 0], [0, 1]]


def figures_of(name, data, job_of, *arguments, job_data=None):
    keras.utils.set_random_seed(0)
    model = models.create(name, num_classes=3, input_shape=(80, 40, 1), filters=4)
    job = job_of((job_data or data).path, f"--model={name}", *arguments)
    return filter_plots.filter_figures(job, model, str(data.path), ("test",))


def test_filters_along_time(trained, tiny):
    found = filter_plots.filter_figures(
        TrainingJob.load(trained), load_model(trained), str(tiny.path), ("test",), run=" of this run"
    )
    assert len(found) == 2
    assert found[0].title == "Filters along time: rhythm of this run"
    assert "60 frames (1.39 s)" in found[0].note and "38 bpm" in found[0].note and "21 % for noise" in found[0].note
    assert found[1].title == "Filters along time and genres of this run"
    assert (
        "the most active are blues: " in found[1].picture.text
        and "bpm #" in found[1].picture.text
        and "patches in test" in found[1].note
    )


@pytest.mark.usefixtures("no_pictures")
def test_filters_along_frequency(tiny, job_of):
    found = figures_of("frequency", tiny, job_of)
    assert len(found) == 2
    assert found[0].title == "Filters along frequency: spectrum"
    assert (
        "32 of 40 mel bands" in found[0].note
        and "9 positions; at the highest, all lie 8 bands further up" in found[0].note
    )
    assert " Hz #" in found[1].picture.text


@pytest.mark.usefixtures("no_pictures")
def test_both_kinds_and_none(tiny, job_of):
    assert len(figures_of("time_frequency", tiny, job_of)) == 4
    assert figures_of("black_box", tiny, job_of) == []


@pytest.mark.usefixtures("no_pictures")
def test_clips_that_are_resized_have_no_tempos(tiny, job_of):
    found = figures_of("time_frequency", tiny, job_of, "--patch_mode=resize")
    assert [figure.title for figure in found] == [
        "Filters along frequency: spectrum",
        "Filters along frequency and genres",
    ]


@pytest.mark.usefixtures("no_pictures")
def test_a_genre_without_patches_is_left_out(tiny, tmp_path, write_dataset, job_of):
    data = write_dataset(tmp_path / "data", parts=("test",), tracks_per_label=1, shards_per_part=3)
    # One genre a shard: the part keeps that of the first.
    part = data.manifest.parts["test"]
    log_mel = data.records["test"][0].log_mel
    part = dataclasses.replace(
        part,
        shards=part.shards[:1],
        tracks={label: int(label == "blues") for label in data.manifest.labels},
        record_frames={len(log_mel): 1},
        statistics=BandStatistics.of(log_mel),
    )
    manifest = dataclasses.replace(data.manifest, parts={"test": part})
    (data.path / FILE_NAME).write_text(manifest.to_json(), "utf-8")
    found = figures_of("time", data, job_of, job_data=tiny)
    assert "the most active are blues: none" in found[1].picture.text and "jazz" not in found[1].picture.text


def test_columns_of_the_heat_map_are_the_filters_that_their_labels_name(trained, tiny, monkeypatch):
    activity = np.array([[4.0, 1.0, 1.0, 2.0], [1.0, 5.0, 2.0, 3.0], [1.0, 2.0, 9.0, 1.0]])
    drawn = {}

    def activity_map(scores, genres, columns, marks, *, style):
        drawn.update(scores=scores, columns=columns, marks=marks)
        return filter_plots.rhythm_grid(np.zeros((2, 1)), filter_analysis.rhythms(np.zeros((2, 1)), 40.0), style=style)

    monkeypatch.setattr(filter_analysis, "genre_activity", lambda *arguments: activity)
    monkeypatch.setattr(filter_plots, "activity_map", activity_map)
    filter_plots.filter_figures(TrainingJob.load(trained), load_model(trained), str(tiny.path), ("test",))
    numbers = [int(column.rpartition("#")[2]) for column in drawn["columns"]]
    # Else the order of the filters would be that of the columns anyway.
    assert sorted(numbers) == [0, 1, 2, 3] != numbers
    assert np.allclose(drawn["scores"], filter_analysis.standardized(activity)[:, numbers])
    assert [numbers[own[0]] for own in drawn["marks"]] == [0, 1, 2]


@pytest.mark.usefixtures("no_pictures")
def test_a_low_frame_rate_has_a_share_of_noise_below_all_and_a_lower_one_no_tempos(trained, tiny, monkeypatch):
    job, model = TrainingJob.load(trained), load_model(trained)
    for rate, words in ((8.0, "30 to 240 beats a minute"), (1.0, None)):
        monkeypatch.setattr(filter_plots, "_frames_per_s", lambda job, rate=rate: rate)
        found = filter_plots.filter_figures(job, model, str(tiny.path), ("test",))
        assert (not found) if words is None else (words in found[0].note and "88 % for noise" in found[0].note)
