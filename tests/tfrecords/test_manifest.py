import dataclasses
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrecords.common.command_line import UserError
from tfrecords.common.json_data import build, parse
from tfrecords.manifest import FILE_NAME, PARTIAL_DIR, BandStatistics, Manifest, Shard, lengths_text


@pytest.fixture(scope="module")
def folds(tmp_path_factory, write_dataset):
    path = tmp_path_factory.mktemp("folds")
    return write_dataset(path, parts=("fold_10", "fold_2", "fold_0"), frames=(3, 40), mel_bands=4, segments=2)


def fails(data_dir):
    """The one line of the UserError that loading ends in."""
    with pytest.raises(UserError) as error:
        Manifest.load(data_dir)
    (line,) = str(error.value).splitlines()
    return line


def with_text(tmp_path, text):
    path = tmp_path / FILE_NAME
    path.write_text(text) if isinstance(text, str) else path.write_bytes(text)
    return path


def test_a_manifest_is_read_as_it_was_written(folds):
    text = (folds.path / FILE_NAME).read_text("utf-8")
    assert Manifest.from_json(text, "here").to_json() == text
    found = Manifest.load(str(folds.path))
    for field in dataclasses.fields(Manifest):
        if field.name != "parts":
            assert getattr(found, field.name) == getattr(folds.manifest, field.name)
    assert list(found.parts) == ["fold_10", "fold_2", "fold_0"]
    for name, part in found.parts.items():
        written = folds.manifest.parts[name]
        assert (part.shards, part.tracks, part.record_frames) == (written.shards, written.tracks, written.record_frames)
        np.testing.assert_array_equal(part.statistics.mean, written.statistics.mean)
        np.testing.assert_array_equal(part.statistics.m2, written.statistics.m2)


def test_file_names_of_any_bytes_survive(folds):
    labels = ("Björk ♫", "\udcff", 'a"\n')
    parts = {
        name: dataclasses.replace(part, tracks=dict(zip(labels, part.tracks.values(), strict=True)))
        for name, part in folds.manifest.parts.items()
    }
    manifest = dataclasses.replace(folds.manifest, labels=labels, parts=parts)
    assert Manifest.from_json(manifest.to_json(), "").labels == manifest.labels
    manifest.to_json().encode("ascii")


def test_what_the_configuration_says(folds):
    assert folds.manifest.mel_bands == 4
    assert folds.manifest.frames_per_s == pytest.approx(43.066, abs=1e-3)


def test_parts_are_selected_in_the_manifests_order(folds):
    select = folds.manifest.select
    assert select(["all"]) == ("fold_10", "fold_2", "fold_0")
    assert select(["fold_0", "fold_10", "fold_0"]) == ("fold_10", "fold_0")
    assert select(iter(["fold_2"])) == select("fold_2") == ("fold_2",)


@pytest.mark.parametrize(
    ("parts", "message"), [(["fold_0", "test"], "no part 'test'; it has fold_10"), ([], "no part")]
)
def test_parts_that_are_not_there_are_an_error(folds, parts, message):
    for method in (folds.manifest.select, folds.manifest.statistics, folds.manifest.tracks):
        with pytest.raises(UserError, match=message):
            method(parts)


@pytest.mark.parametrize("parts", [["all"], ["fold_2"], ["fold_0", "fold_10"]])
@pytest.mark.parametrize(("patch_frames", "patch_hop"), [(1, 1), (7, 7), (7, 3), (3, 10), (40, 1), (41, 1)])
def test_the_number_of_patches_equals_counting_them(folds, parts, patch_frames, patch_hop):
    counted = 0
    for part in folds.manifest.select(parts):
        for record in folds.records[part]:
            start = 0
            while start + patch_frames <= len(record.log_mel):
                counted += 1
                start += patch_hop
    assert folds.manifest.num_patches(parts, patch_frames=patch_frames, patch_hop=patch_hop) == counted


def test_statistics_and_tracks_of_a_union(folds):
    statistics = folds.manifest.statistics(["fold_0", "fold_2"])
    everything = np.concatenate([folds.exact["fold_0"], folds.exact["fold_2"]]).astype(np.float64)
    assert statistics.count == len(everything)
    np.testing.assert_allclose(statistics.mean, everything.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, everything.std(axis=0), rtol=1e-12)
    assert folds.manifest.tracks(["fold_0", "fold_2"]) == {"blues": 4, "jazz": 4, "rock": 4}


def test_loading_what_is_not_there(tmp_path, own):
    assert fails(tmp_path / "nowhere").startswith(f"{tmp_path}/nowhere: no such directory")
    assert fails(tmp_path).startswith(f"{tmp_path}: no manifest.json, so this is no dataset")
    file = own.path / FILE_NAME
    assert fails(file).startswith(f"{file}: a file, not the directory")
    assert fails(file / "below").startswith(f"{file}/below: no such directory")
    (tmp_path / PARTIAL_DIR).mkdir()
    assert fails(tmp_path).startswith(f"{tmp_path}: an unfinished dataset; run the command that began it again")
    (tmp_path / FILE_NAME).mkdir()
    assert fails(tmp_path) == f"{tmp_path / FILE_NAME} cannot be read: Is a directory"


@pytest.mark.parametrize(
    "text", ["", "garbage", "{", "\ufeff{}", "null", "3", "[]", '"text"', "{}", '{"format_version": 1}', b"\xff\xfe{}"]
)
def test_what_is_no_manifest(tmp_path, text):
    path = with_text(tmp_path, text)
    assert fails(tmp_path).startswith(f"{path}: not a manifest (")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version(tmp_path, own, version):
    data = json.loads(own.manifest.to_json()) | {"format_version": version}
    path = with_text(tmp_path, json.dumps(data))
    assert fails(tmp_path).startswith(f"{path}: format version {version} is not 1")


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float64"},
        {"dtype": None},
        {"dtype": ["float16"]},
        {"labels": 3},
        {"parts": []},
        {"parts": {"train": None}},
        {"parts": {"train": {"shards": []}}},
        {"front_end": {}},
        {"front_end": []},
        {"front_end": {"n_mels": "many"}},
        {"front_end": {"n_mels": 5}},
    ],
)
def test_a_manifest_of_another_shape(tmp_path, own, change):
    path = with_text(tmp_path, json.dumps(json.loads(own.manifest.to_json()) | change))
    assert fails(tmp_path).startswith(f"{path}: not a manifest (")


@hypothesis.given(st.data())
@hypothesis.settings(deadline=None, max_examples=100, suppress_health_check=list(hypothesis.HealthCheck))
def test_one_value_replaced_anywhere_gives_a_manifest_or_one_line(own, data):
    content = json.loads(own.manifest.to_json())
    spot = content
    while True:
        keys = range(len(spot)) if isinstance(spot, list) else list(spot)
        key = data.draw(st.sampled_from(keys))
        if isinstance(spot[key], dict | list) and spot[key] and data.draw(st.booleans()):
            spot = spot[key]
            continue
        if data.draw(st.booleans()):
            del spot[key]
        else:
            spot[key] = data.draw(st.sampled_from([None, -1, 1.5, "text", [], {}, [[1]], {"a": 1}]))
        break
    try:
        Manifest.from_json(json.dumps(content), "here")
    except UserError as error:
        assert str(error).startswith("here: ")
        assert len(str(error).splitlines()) == 1


def _changed(data, *path, to):
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = to(data[path[-1]]) if callable(to) else to


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (("labels",), ["blues", "blues", "rock"], "labels must be different names"),
        (("labels",), [], "labels must be different names"),
        (("parts",), {}, "parts must have at least one"),
        (("parts", "fold_0", "shards", 0, "file"), "../x", "must be a name in the dataset's directory, got '../x'"),
        (("parts", "fold_0", "shards", 0, "file"), "..", "must be a name in the dataset's directory"),
        (("parts", "fold_0", "shards", 0, "sha256"), "0" * 63, "must be 64 hexadecimal digits"),
        (("parts", "fold_0", "shards"), lambda shards: [shards[0], *shards], "records, the shards of"),
        (("parts", "fold_0"), "fold_1", "is there twice"),
        (("parts", "fold_0", "shards", 0, "bytes"), 1, "is too small for its"),
        (("parts", "fold_0", "shards", 0, "records"), lambda records: records + 1, "records, the shards of"),
        (("parts", "fold_0", "shards", 0, "frames"), lambda frames: frames + 1, "frames, the shards' "),
        (("parts", "fold_0", "record_frames"), {str(10**15): 2}, "record_frames are of 2 records"),
        (("parts", "fold_0", "statistics", "count"), 1, "statistics are of 1 frames"),
        (("parts", "fold_0", "statistics", "mean", 0), float("nan"), "NaN is no number"),
        (("parts", "fold_0", "statistics", "m2", 0), -1.0, "must be at least 0"),
        (("parts", "fold_0", "tracks"), {"blues": 1}, "must name each label"),
        (("parts", "fold_0", "tracks", "blues"), 10**6, "tracks in"),
        (("front_end", "hop_length"), 0, "front_end.hop_length must be a whole number from 1, got 0"),
        (("split", "group_safe"), "yes", "split.group_safe must be true or false"),
        (("rejects",), {"too_short": -1}, "rejects must be at least 0"),
    ],
)
def test_what_cannot_be_of_a_dataset_is_refused(tmp_path, own, path, to, message):
    data = json.loads(own.manifest.to_json())
    _changed(data, *path, to=data["parts"][to] if to == "fold_1" else to)
    with_text(tmp_path, json.dumps(data))
    assert message in fails(tmp_path)


BLOCKS = st.lists(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(0, 8), st.just(3)),
        elements=st.floats(-1000, 1000, allow_nan=False, allow_subnormal=False),
    ),
    max_size=6,
)


def same_bits(one, other):
    return one.count == other.count and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("mean", "m2")
    )


@hypothesis.given(BLOCKS)
@hypothesis.settings(deadline=None, max_examples=100)
def test_merging_equals_numpy_over_everything(blocks):
    total = BandStatistics.merged(map(BandStatistics.of, blocks), 3)
    everything = np.concatenate([np.zeros((0, 3)), *blocks])
    assert total.count == len(everything)
    if total.count:
        np.testing.assert_allclose(total.mean, everything.mean(axis=0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(total.variance, everything.var(axis=0), rtol=1e-7, atol=1e-7)


def test_merging_does_not_lose_a_small_variance_beside_a_large_mean():
    # The sum of squares minus the squared sum would leave nothing here.
    rng = np.random.default_rng(0)
    blocks = 1e8 + rng.normal(size=(20, 50, 3))
    total = BandStatistics.merged(map(BandStatistics.of, blocks), 3)
    np.testing.assert_allclose(total.variance, blocks.reshape(-1, 3).var(axis=0), rtol=1e-6)


def test_half_precision_is_summed_in_double():
    values = np.full((100_000, 1), 60000, np.float16)
    assert BandStatistics.of(values).mean == values[0]
    assert BandStatistics.of(values).m2 == 0


def test_nothing_merged_with_anything_changes_nothing():
    some = BandStatistics.of(np.random.default_rng(0).normal(size=(7, 3)))
    nothing = BandStatistics.empty(3)
    assert same_bits(BandStatistics.of(np.zeros((0, 3))), nothing)
    for merged in (some.merge(nothing), nothing.merge(some), BandStatistics.merged([nothing, some, nothing], 3)):
        assert same_bits(merged, some)
    assert same_bits(nothing.merge(nothing), nothing)
    assert nothing.variance.tolist() == [0, 0, 0]


def test_a_band_without_sound_is_not_blown_up():
    silence = BandStatistics.of(np.zeros((5, 2)))
    assert (silence.scale.tolist(), silence.std.tolist()) == ([1, 1], [0, 0])
    # The last is what a resampler leaves above the highest frequency that was there.
    values = np.array([[1.0, 0, 0.004, 1e-8], [5, 0, 0, 3e-6]])
    statistics = BandStatistics.of(values)
    assert statistics.scale.tolist() == [2, 1, 0.002, 1]
    np.testing.assert_allclose(statistics.std, values.std(axis=0), rtol=1e-12)


@hypothesis.given(hnp.arrays(np.float64, (5, 3), elements=st.floats(-1e10, 1e10)))
@hypothesis.settings(deadline=None, max_examples=50)
def test_json_keeps_every_bit(values):
    statistics = BandStatistics.of(values)
    assert same_bits(build(BandStatistics, parse(json.dumps(statistics.to_json()))), statistics)


@pytest.mark.parametrize(
    "damage", [{"mean": [1.0]}, {"m2": 3.0}, {"m2": [0.0, -1.0]}, {"count": -1}, {"mean": ["x", "y"]}]
)
def test_statistics_that_cannot_be_are_refused(damage):
    with pytest.raises(ValueError, match="must be"):
        build(BandStatistics, {"count": 1, "mean": [1.0, 2.0], "m2": [0.0, 0.0]} | damage)


def test_lengths_of_records_are_kept_in_order():
    for lengths in ([3], [80, 80, 80, 22, 80], [1, 2, 3]):
        shard = Shard("a", len(lengths), sum(lengths), 9, "0" * 64, lengths_text(lengths))
        assert shard.record_frames().tolist() == lengths
    assert Shard("a", 0, 0, 9, "0" * 64).record_frames().tolist() == []
    assert Shard("a", 2, 9, 9, "0" * 64).record_frames() is None


@pytest.mark.parametrize("lengths", ["80", "80x2", "80x3 21", "0x4", "80x3,22", "80x3  22", "x", "-80", "9" * 30])
def test_lengths_that_are_not_those_of_the_shard_are_refused(lengths):
    with pytest.raises(ValueError, match="the lengths of 'a' are not those of 4 records of 262 frames"):
        Shard("a", 4, 262, 9, "0" * 64, lengths).record_frames()
