import dataclasses

import keras
import numpy as np

from tfrecords.manifest import FILE_NAME, BandStatistics
from trainer import models
from trainer.evaluation.predictions import load_model
from trainer.reports import filter_plots, filters
from trainer.training_job import TrainingJob


def sections(name, data, job_of, job_data=None):
    keras.utils.set_random_seed(0)
    model = models.create(name, num_classes=3, input_shape=(80, 40, 1))
    job = job_of((job_data or data).path, f"--model={name}")
    return filter_plots.filter_sections(job, model, str(data.path), ("test",))


def test_filters_along_time(trained, tiny):
    found = filter_plots.filter_sections(
        TrainingJob.load(trained), load_model(trained), str(tiny.path), ("test",), run=" of this run"
    )
    assert len(found) == 2
    assert "<h2>Filters along time: rhythm of this run</h2>" in found[0]
    assert "60 frames (1.39 s)" in found[0] and "38 bpm" in found[0] and "21 % for noise" in found[0]
    assert "<h2>Filters along time and genres of this run</h2>" in found[1]
    assert "the most active are blues: " in found[1] and "bpm #" in found[1] and "patches in test" in found[1]


def test_filters_along_frequency(tiny, job_of):
    found = sections("frequency", tiny, job_of)
    assert len(found) == 2
    assert "<h2>Filters along frequency: spectrum</h2>" in found[0]
    assert "32 of 40 mel bands" in found[0] and "9 positions; at the highest, all lie 8 bands further up" in found[0]
    assert " Hz #" in found[1]


def test_both_kinds_and_none(tiny, job_of):
    assert len(sections("time_frequency", tiny, job_of)) == 4
    assert sections("black_box", tiny, job_of) == []


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
    found = sections("time", data, job_of, job_data=tiny)
    assert "the most active are blues: none" in found[1] and "jazz" not in found[1]


def test_columns_of_the_heat_map_are_the_filters_that_their_labels_name(trained, tiny, monkeypatch):
    activity = np.array([[4.0, 1.0, 1.0, 2.0], [1.0, 5.0, 2.0, 3.0], [1.0, 2.0, 9.0, 1.0]])
    drawn = {}

    def activity_map(scores, genres, columns, marks, *, style):
        drawn.update(scores=scores, columns=columns, marks=marks)
        return filter_plots.rhythm_grid(np.zeros((2, 1)), filters.rhythms(np.zeros((2, 1)), 40.0), style=style)

    monkeypatch.setattr(filters, "genre_activity", lambda *arguments: activity)
    monkeypatch.setattr(filter_plots, "activity_map", activity_map)
    filter_plots.filter_sections(TrainingJob.load(trained), load_model(trained), str(tiny.path), ("test",))
    numbers = [int(column.rpartition("#")[2]) for column in drawn["columns"]]
    # Else the order of the filters would be that of the columns anyway.
    assert sorted(numbers) == [0, 1, 2, 3] != numbers
    assert np.allclose(drawn["scores"], filters.standardized(activity)[:, numbers])
    assert [numbers[own[0]] for own in drawn["marks"]] == [0, 1, 2]


def test_a_low_frame_rate_has_a_share_of_noise_below_all_and_a_lower_one_no_tempos(trained, tiny, monkeypatch):
    job, model = TrainingJob.load(trained), load_model(trained)
    for rate, words in ((8.0, "30 to 240 beats a minute"), (1.0, None)):
        monkeypatch.setattr(filter_plots, "_frames_per_s", lambda job, rate=rate: rate)
        found = filter_plots.filter_sections(job, model, str(tiny.path), ("test",))
        assert (not found) if words is None else (words in found[0] and "88 % for noise" in found[0])
