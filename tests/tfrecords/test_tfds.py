import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets

from tfrecords import tfds
from tfrecords.dataset import Dataset
from tfrecords.manifest import BandStatistics
from tfrecords.schema import FEATURES

ROOT = Path(__file__).parents[2]
IN_ORDER = tensorflow_datasets.ReadConfig(interleave_cycle_length=1)


def opened(data):
    for name, text in tfds.to_json(data.manifest).items():
        (data.path / name).write_text(text, "ascii")
    return tensorflow_datasets.builder_from_directory(data.path)


def assert_same_records(builder, manifest, path, part):
    found = list(builder.as_dataset(split=part, read_config=IN_ORDER).as_numpy_iterator())
    expected = list(Dataset(path, manifest).records(part))
    assert len(found) == len(expected) == builder.info.splits[part].num_examples > 0
    for one, record in zip(found, expected, strict=True):
        assert set(one) == set(FEATURES)
        assert one["track_id"].decode("utf-8", "surrogateescape") == record.track_id
        assert one["group"].decode("utf-8", "surrogateescape") == record.group
        assert (one["label"], one["segment"], one["frames"]) == (record.label, record.segment, len(record.log_mel))
        assert one["log_mel"].dtype == manifest.dtype
        np.testing.assert_array_equal(one["log_mel"], record.log_mel)


@pytest.mark.parametrize(("dtype", "mel_bands"), [("float16", 40), ("float32", 3)])
def test_every_record_of_every_split(tmp_path, write_dataset, dtype, mel_bands):
    data = write_dataset(tmp_path / "data", dtype=dtype, mel_bands=mel_bands, segments=2, shards_per_part=3)
    builder = opened(data)
    assert list(builder.info.splits) == ["train", "valid", "test"]
    for part in data.manifest.parts:
        assert_same_records(builder, data.manifest, data.path, part)
    assert len(list(builder.as_dataset(split="all"))) == 36
    patches, label = next(iter(builder.as_dataset(split="test", as_supervised=True)))
    assert patches.shape[1] == mel_bands
    assert label.dtype == "int64"


def test_what_the_builder_tells(own):
    info = opened(own).info
    assert (info.name, str(info.version), info.supervised_keys) == ("tiny", "1.0.0", ("log_mel", "label"))
    assert info.features["label"].names == ["blues", "jazz", "rock"]
    assert info.features["log_mel"].shape == (None, 4)
    assert info.dataset_size == sum(path.stat().st_size for path in own.path.glob("*.tfrecord-*"))
    assert "18 labelled tracks of audio; front end: sample_rate 22050," in info.description
    for part in own.manifest.parts:
        assert [str(path) for path in info.splits[part].filepaths] == [str(path) for path in own.shards(part)]


def test_a_part_without_records_is_left_out_and_a_shard_without_them_is_not(tmp_path, write_dataset):
    data = write_dataset(tmp_path / "data", tracks_per_label=1, shards_per_part=4, mel_bands=4)
    assert 0 in [shard.records for shard in data.manifest.parts["train"].shards]
    nothing = {
        "tracks": dict.fromkeys(data.manifest.labels, 0),
        "record_frames": {},
        "statistics": BandStatistics.empty(4),
    }
    no_shards = dataclasses.replace(data.manifest.parts["valid"], shards=(), **nothing)
    empty = tuple(shard for shard in data.manifest.parts["test"].shards if not shard.records)
    no_records = dataclasses.replace(data.manifest.parts["test"], shards=empty, **nothing)
    assert no_records.shards
    parts = {"train": data.manifest.parts["train"], "valid": no_shards, "test": no_records}
    data = dataclasses.replace(data, manifest=dataclasses.replace(data.manifest, parts=parts))
    builder = opened(data)
    assert list(builder.info.splits) == ["train"]
    assert_same_records(builder, data.manifest, data.path, "train")
    assert len(list(builder.as_dataset(split="all"))) == 3


def test_labels_of_any_bytes_keep_their_names(own):
    labels = ("Björk ♫", "\udcff", ' a"\n')
    parts = {
        name: dataclasses.replace(part, tracks=dict(zip(labels, part.tracks.values(), strict=True)))
        for name, part in own.manifest.parts.items()
    }
    data = dataclasses.replace(own, manifest=dataclasses.replace(own.manifest, labels=labels, parts=parts))
    assert tuple(opened(data).info.features["label"].names) == labels


def test_equal_manifests_give_equal_texts(own, tiny):
    assert tfds.to_json(own.manifest) == tfds.to_json(type(own.manifest).load(own.path))
    assert tfds.to_json(own.manifest) != tfds.to_json(tiny.manifest)
    for text in tfds.to_json(own.manifest).values():
        assert text == json.dumps(json.loads(text), indent=1) + "\n"


def test_no_command_imports_tensorflow_datasets():
    modules = "tfrecords.__main__, tfrecords.reader, tfrecords.tfds, beam_preprocess.job, trainer.train"
    first = "from tfrecords.common.command_line import import_tensorflow; import_tensorflow()"
    code = f"{first}; import sys, {modules}; print('tensorflow_datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
