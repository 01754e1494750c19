import dataclasses

import keras

from tfrecords.manifest import FILE_NAME
from trainer import filter_sections, models
from trainer.predictions import load_model
from trainer.training_job import TrainingJob


def sections(name, data, job_of, job_data=None):
    keras.utils.set_random_seed(0)
    model = models.create(name, num_classes=3, input_shape=(80, 40, 1))
    job = job_of((job_data or data).path, f"--model={name}")
    return filter_sections.filter_sections(job, model, str(data.path), ("test",))


def test_filters_along_time(trained, tiny):
    found = filter_sections.filter_sections(
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
    frames = {len(data.records["test"][0].log_mel): 1}
    part = dataclasses.replace(part, shards=part.shards[:1], record_frames=frames)
    manifest = dataclasses.replace(data.manifest, parts={"test": part})
    (data.path / FILE_NAME).write_text(manifest.to_json(), "utf-8")
    found = sections("time", data, job_of, job_data=tiny)
    assert "the most active are blues: none" in found[1] and "jazz" not in found[1]
