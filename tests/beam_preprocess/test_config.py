import dataclasses

import pytest

from beam_preprocess.config import JobConfig, SplitConfig, default_name
from tfrecords.common.command_line import UserError


def test_defaults_are_ten_folds_of_half_precision():
    config = JobConfig("music", "out", "music")
    assert (config.split.folds, config.record_dtype, config.min_frames) == (10, "float16", 80)
    assert config.front_end.n_mels == 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": ""}, "`source` must be a folder"),
        ({"output": ""}, "`output` must be a directory"),
        ({"name": "GTZAN"}, "`name` must be lower-case letters, .*, got 'GTZAN'"),
        ({"name": "9lives"}, "`name` must be"),
        ({"name": "a-b"}, "`name` must be"),
        ({"name": "../up"}, "`name` must be"),
        ({"name": ""}, "`name` must be"),
        ({"record_dtype": "bfloat16"}, "`record_dtype` must be one of float16, float32, got 'bfloat16'"),
        ({"num_shards": 0}, "`num_shards` must be at least 1, got 0"),
        ({"min_frames": 0}, "`min_frames` must be at least 1, got 0"),
        ({"max_duration_s": 0.0}, "`max_duration_s` must be above 0, got 0.0"),
        ({"max_duration_s": float("nan")}, "`max_duration_s` must be above 0, got nan"),
        ({"max_reject_fraction": -0.1}, "`max_reject_fraction` must be from 0 to 1, got -0.1"),
        ({"max_reject_fraction": 1.1}, "`max_reject_fraction` must be"),
        ({"label_folder": "first"}, "`label_folder` must be one of parent, top, got 'first'"),
        ({"label_folder": "top", "source": "t.CSV"}, "`label_folder` is for folders"),
        ({"max_archive_bytes": 0}, "`max_archive_bytes` must be at least 1, got 0"),
        ({"output": "gs://b/out[1]"}, r"`output` must be a URL without \* \? \[, got 'gs://b/out\[1\]'"),
        ({"output": "gs://b/out*"}, "`output` must be"),
    ],
)
def test_rules(changes, message):
    with pytest.raises(UserError, match=message):
        JobConfig(**{"source": "music", "output": "out", "name": "music"} | changes)


def test_ways_to_split_exclude_each_other():
    with pytest.raises(UserError, match="`train_size` and `split_lists` exclude each other"):
        SplitConfig(train_size=0.8, split_lists="lists")
    with pytest.raises(UserError, match="`valid_size` needs `train_size`"):
        SplitConfig(valid_size=0.1)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/GTZAN", "gtzan"),
        ("/data/gtzan/", "gtzan"),
        ("my music (2016)", "my_music_2016"),
        ("/data/emotify/tracks.csv", "emotify"),
        ("/data/Emotify/Tracks.CSV", "emotify"),
        ("/data/gtzan/*/*.wav", "gtzan"),
        ("/data/gtzan/**/*.[wW][aA][vV]", "gtzan"),
        ("gs://bucket/sets/fma_small", "fma_small"),
        ("/data/genres.tar.gz", "genres"),
        ("gs://bucket/FMA small.TGZ", "fma_small"),
        ("fma.tar", "fma"),
        ("/2016", "dataset"),
        ("/", "dataset"),
        ("Ünïcode", "n_code"),
    ],
)
def test_default_name(source, name):
    assert default_name(source) == name


@pytest.mark.parametrize("source", [".", "./", "tracks.csv", "*/*.wav", "../My set"])
def test_a_relative_input_has_the_name_of_its_folder(source, tmp_path, monkeypatch):
    (tmp_path / "My set").mkdir()
    monkeypatch.chdir(tmp_path / "My set")
    assert default_name(source) == "my_set"


def test_a_default_name_is_always_allowed():
    for source in ("a", "A b", "1", "été", "*", "x/1_y"):
        assert dataclasses.replace(JobConfig("in", "out", "x"), name=default_name(source)).name


@pytest.mark.parametrize("source", ["my [set]", "my [set]/", "my [set]/tracks.csv", "my [set].tar", "my*/*.wav"])
def test_a_working_directory_named_like_a_glob(source, tmp_path, monkeypatch):
    (tmp_path / "at [work]*" / "my [set]").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "at [work]*")
    assert default_name(source) == ("at_work" if source.startswith("my*") else "my_set")
