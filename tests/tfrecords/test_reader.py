import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

import tfrecords
from tfrecords import reader
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.reader import load, patches_per_label, raise_shard_errors
from tfrecords.schema import encode
from tfrecords.shard import RecordWriter, ShardError


def collect(dataset):
    """The elements of all batches, one array each."""
    return [np.concatenate(arrays) for arrays in zip(*dataset.as_numpy_iterator(), strict=True)]


def cut(data, parts, patch_frames=80, patch_hop=80):
    """What `load` should give, by NumPy: patches, labels, track ids."""
    patches, labels, track_ids = [], [], []
    for part in parts:
        for record in data.records[part]:
            for start in range(0, len(record.log_mel) - patch_frames + 1, patch_hop):
                patches.append(record.log_mel[start : start + patch_frames, :, np.newaxis])
                labels.append(record.label)
                track_ids.append(record.track_id.encode())
    return np.array(patches, np.float32), np.array(labels), track_ids


def fingerprints(patches, labels):
    return [(patch.tobytes(), int(label)) for patch, label in zip(patches, labels, strict=True)]


@pytest.fixture(scope="module")
def long(tmp_path_factory, write_dataset):
    """Some hundred patches of 4 x 3 in many shards and several segments per track."""
    path = tmp_path_factory.mktemp("long") / "dataset"
    sizes = {"frames": (1, 30), "mel_bands": 3, "segments": 3, "tracks_per_label": 8, "shards_per_part": 5}
    return write_dataset(path, parts=("fold_0", "fold_1", "fold_2"), dtype="float32", **sizes)


SMALL = {"patch_frames": 4, "batch_size": 10}


def test_patches_come_in_order_with_their_tracks(tiny):
    patches, labels, track_ids = collect(load(tiny.path, parts=["test", "train"]))
    expected = cut(tiny, ["train", "test"])
    assert (patches.dtype, labels.dtype) == (np.float32, np.int32)
    assert patches.shape[1:] == (80, 40, 1)
    np.testing.assert_array_equal(patches, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    assert track_ids.tolist() == expected[2]


@pytest.mark.parametrize(("patch_frames", "patch_hop"), [(4, 4), (4, 1), (4, 3), (2, 7), (30, 1)])
@pytest.mark.parametrize("shuffle_bytes", [1000, 64 << 20])
def test_any_hop_and_segments_and_records_that_are_too_short(long, patch_frames, patch_hop, shuffle_bytes, monkeypatch):
    monkeypatch.setattr(reader, "SHUFFLE_BYTES", shuffle_bytes)
    sizes = {"patch_frames": patch_frames, "patch_hop": patch_hop}
    patches, labels, track_ids = collect(load(long.path, parts=("fold_1", "fold_2"), **sizes))
    expected = cut(long, ["fold_1", "fold_2"], **sizes)
    np.testing.assert_array_equal(patches, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    assert track_ids.tolist() == expected[2]


def test_the_default_hop_is_a_patch(long):
    found = collect(load(long.path, parts=["fold_0"], patch_frames=5))
    np.testing.assert_array_equal(found[0], cut(long, ["fold_0"], 5, 5)[0])


@pytest.mark.parametrize("shuffle_bytes", [1, 5000])
def test_an_epoch_of_training_holds_every_patch_once(long, shuffle_bytes, monkeypatch):
    monkeypatch.setattr(reader, "SHUFFLE_BYTES", shuffle_bytes)
    patches, labels = collect(load(long.path, training=True, epochs=2, **SMALL))
    expected = fingerprints(*cut(long, ["fold_0", "fold_1", "fold_2"], 4, 4)[:2])
    found = fingerprints(patches, labels)
    assert len(set(expected)) == len(expected) > 100
    for epoch in (found[: len(expected)], found[len(expected) :]):
        assert Counter(epoch) == Counter(expected)
        assert epoch != expected


def test_training_is_shuffled_across_tracks_and_labels(long):
    _, labels = collect(load(long.path, training=True, **SMALL))
    _, in_order, _ = collect(load(long.path, **SMALL))
    changes = np.count_nonzero(np.diff(labels))
    assert changes > 3 * np.count_nonzero(np.diff(in_order))
    assert changes > 0.5 * len(labels)


def test_the_order_is_a_function_of_seed_and_epoch(long):
    def order(**arguments):
        return fingerprints(*collect(load(long.path, training=True, **SMALL, **arguments)))

    two = order(seed=7, epochs=2)
    first, second = two[: len(two) // 2], two[len(two) // 2 :]
    assert order(seed=7) == first
    assert order(seed=7, epoch=1) == second
    assert order(seed=7, epoch=1, epochs=2)[: len(second)] == second
    orders = [first, second, order(seed=8), order(seed=0), order(seed=-1), order(seed=1 << 40)]
    assert len({tuple(one) for one in orders}) == len(orders)
    tf.random.set_seed(3)
    assert order(seed=7) == first


def test_training_without_end_goes_on_into_the_next_epoch(long):
    endless = load(long.path, training=True, epochs=None, **SMALL)
    epoch = load(long.path, training=True, **SMALL)
    batches = int(epoch.cardinality())
    second = [batch for batch, _ in endless.skip(batches).take(batches).as_numpy_iterator()]
    expected = [batch for batch, _ in load(long.path, training=True, epoch=1, **SMALL).as_numpy_iterator()]
    assert [batch.shape for batch in second] == [batch.shape for batch in expected]
    np.testing.assert_array_equal(np.concatenate(second), np.concatenate(expected))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("epochs", "batch_size"), [(1, 1), (3, 7), (2, 10_000)])
def test_the_number_of_batches_is_known(long, training, epochs, batch_size):
    dataset = load(long.path, parts=["fold_0"], training=training, epochs=epochs, batch_size=batch_size, patch_frames=4)
    sizes = [len(batch[0]) for batch in dataset.as_numpy_iterator()]
    patches = len(cut(long, ["fold_0"], 4, 4)[0])
    full, rest = divmod(patches, batch_size)
    assert sizes == ([batch_size] * full + [rest] * (rest > 0)) * epochs
    assert int(dataset.cardinality()) == len(sizes)


@pytest.mark.parametrize("training", [False, True])
def test_the_element_spec_says_what_comes(long, training):
    spec = load(long.path, training=training, patch_frames=4).element_spec
    assert len(spec) == (2 if training else 3)
    assert (spec[0].dtype, spec[1].dtype) == (tf.float32, tf.int32)
    assert spec[0].shape.as_list() == [None, 4, 3, 1]


def test_training_statistics_normalise_the_training_parts(tmp_path, write_dataset):
    # Patches of one frame see every frame, so the mean must be 0 and the deviation 1, but for rounding to float16.
    data = write_dataset(tmp_path / "dataset", mel_bands=5, frames=(30, 60))
    statistics = data.manifest.statistics(["train", "valid"])
    patches = collect(load(data.path, parts=["train", "valid"], statistics=statistics, patch_frames=1))[0]
    np.testing.assert_allclose(patches.mean(axis=(0, 1, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(patches.std(axis=(0, 1, 3)), 1, atol=1e-3)
    other = collect(load(data.path, parts=["test"], statistics=statistics, patch_frames=4))[0]
    expected = cut(data, ["test"], 4, 4)[0]
    scaled = (expected - statistics.mean[:, np.newaxis]) / statistics.scale[:, np.newaxis]
    np.testing.assert_allclose(other, scaled, atol=1e-5)


def test_a_band_that_never_changes_stays_finite(tmp_path, write_dataset):
    data = write_dataset(tmp_path / "dataset", mel_bands=2)
    silent = dataclasses.replace(data.manifest.statistics(["train"]), m2=np.zeros(2))
    assert np.isfinite(collect(load(data.path, statistics=silent))[0]).all()


def test_load_is_found_in_the_package(tiny):
    assert tfrecords.load is load
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        tfrecords.lood  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parts": ["train", "fold_0"]}, "no part 'fold_0'; it has train, valid, test"),
        ({"parts": []}, "no part was named"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"patch_frames": 0}, "`patch_frames` must be at least 1, got 0"),
        ({"patch_hop": 0}, "`patch_hop` must be at least 1, got 0"),
        ({"patch_hop": -1}, "`patch_hop` must be at least 1, got -1"),
        ({"patch_frames": 251, "parts": ["train", "test"]}, "no record of train, test is as long as a patch of 251"),
    ],
)
def test_arguments_that_cannot_be(tiny, arguments, message):
    with pytest.raises(UserError, match=message):
        load(tiny.path, **arguments)


def test_no_dataset(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: no manifest.json"):
        load(tmp_path)


def test_missing_and_torn_shards_are_found_before_anything_is_read(own):
    torn, missing = own.shards("fold_1")
    torn.write_bytes(torn.read_bytes()[:-1])
    missing.unlink()
    load(own.path, parts=["fold_0", "fold_2"], patch_frames=2)
    with pytest.raises(UserError, match=f"^{torn} should hold"):
        load(own.path, patch_frames=2)


def test_random_patches_are_as_many_as_windows_and_drawn_anew_each_epoch(long):
    arguments = {"patch_frames": 4, "patch_hop": 3, "batch_size": 50, "training": True, "patch_mode": "random"}
    epochs = [fingerprints(*collect(load(long.path, epoch=epoch, **arguments))) for epoch in (0, 0, 1)]
    windows = cut(long, ["fold_0", "fold_1", "fold_2"], 4, 3)
    every = Counter(fingerprints(*cut(long, ["fold_0", "fold_1", "fold_2"], 4, 1)[:2]))
    assert epochs[0] == epochs[1]
    assert len(set(epochs[0]) & set(epochs[2])) < 0.7 * len(epochs[0])
    for epoch in epochs:
        assert Counter(label for _, label in epoch) == Counter(windows[1].tolist())
        assert set(epoch) <= set(every)
        # Any frame may be the first, not only those where windows begin.
        assert len(set(epoch) - set(fingerprints(*windows[:2]))) > 0.3 * len(epoch)


@pytest.mark.parametrize("patch_frames", [1, 7, 15, 80])
@pytest.mark.parametrize("in_memory", [False, True])
def test_whole_clips_are_resized_as_tf_image_does(long, tiny, patch_frames, in_memory):
    for data in (long, tiny):
        dataset = load(data.path, patch_frames=patch_frames, patch_mode="resize", in_memory=in_memory)
        patches, labels, track_ids = collect(dataset)
        records = [record for part in data.manifest.parts for record in data.records[part]]
        assert track_ids.tolist() == [record.track_id.encode() for record in records]
        assert labels.tolist() == [record.label for record in records]
        size = (patch_frames, data.manifest.mel_bands)
        expected = [tf.image.resize(record.log_mel[..., np.newaxis], size) for record in records]
        np.testing.assert_allclose(patches, expected, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("patch_mode", ["windows", "resize"])
def test_the_global_batch_is_the_same_for_every_number_of_hosts(long, training, patch_mode):
    arguments = {"training": training, "epoch": 1, "patch_frames": 4, "batch_size": 24, "patch_mode": patch_mode}

    def global_batches(num_hosts):
        shares = [batches(long, host_index=host, num_hosts=num_hosts, **arguments) for host in range(num_hosts)]
        return [
            [[row for part in parts for row in part] for parts in zip(*step, strict=True)]
            for step in zip(*shares, strict=True)
        ]

    expected = global_batches(2)
    sizes = [len(batch[1]) for batch in expected]
    assert sizes[:-1] == [24] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= 24
    for num_hosts in (3, 8, 24):
        assert global_batches(num_hosts) == expected, num_hosts
    if training:
        assert global_batches(1) == expected


@pytest.mark.parametrize("num_hosts", [1, 3])
def test_any_step_on_any_number_of_hosts(long, num_hosts):
    for host in range(num_hosts):
        common = {"training": True, "host_index": host, "num_hosts": num_hosts, "patch_frames": 4, "batch_size": 6}
        whole = batches(long, epochs=2, **common)
        for step in (1, len(whole) // 2 - 1, len(whole) // 2, len(whole) - 1):
            assert batches(long, epochs=2, step=step, **common) == whole[step:]


def test_float16_batches_are_the_stored_values(long, tiny):
    for data in (long, tiny):
        half, full = (
            collect(load(data.path, patch_frames=4, training=True, dtype=dtype)) for dtype in ("float16", "float32")
        )
        assert half[0].dtype == np.float16
        np.testing.assert_array_equal(half[0], full[0].astype(np.float16))
        np.testing.assert_array_equal(half[1], full[1])
    resized = collect(load(tiny.path, patch_mode="resize", dtype="float16"))[0]
    np.testing.assert_array_equal(resized, collect(load(tiny.path, patch_mode="resize"))[0].astype(np.float16))


def test_a_value_that_is_not_finite_is_named_with_its_record(own):
    path = own.shards("fold_1")[1]
    loaded = load(own.path, patch_frames=2)
    records = own.records["fold_1"][3:]
    bad = records[1].log_mel.copy()
    bad[1, 1] = np.nan
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for record in (records[0], dataclasses.replace(records[1], log_mel=bad), *records[2:]):
            writer.write(encode(record))
    message = f"^{re.escape(str(path))}: record 1: holds values that are not finite; write the dataset again"
    with pytest.raises(UserError, match=message), raise_shard_errors():
        list(loaded)


@pytest.mark.parametrize("training", [False, True])
def test_memory_gives_what_the_shards_give(tmp_path, write_dataset, training):
    data = write_dataset(tmp_path / "dataset", mel_bands=3)
    statistics = data.manifest.statistics(["train"])
    arguments = {"training": training, "statistics": statistics, "epochs": 2, "batch_size": 7}
    kept = load(data.path, in_memory=True, **arguments)
    plain = fingerprints(*collect(load(data.path, **arguments))[:2])
    for path in data.shards("train", "valid", "test"):
        path.unlink()
    found = fingerprints(*collect(kept)[:2])
    # In memory, all is shuffled as one.
    assert Counter(found) == Counter(plain) if training else found == plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"num_hosts": 7},
            "`num_hosts` must divide the 32 streams of this `batch_size`, so be one of 1, 2, 4, 8, 16, 32",
        ),
        ({"dtype": "float64"}, "`dtype` must be one of float16, float32, got 'float64'"),
        ({"num_hosts": 2, "host_index": 2}, "`host_index` must be from 0 to 1, got 2"),
        ({"num_hosts": 0}, "`num_hosts` must be at least 1, got 0"),
        ({"step": -1}, "`step` must be at least 0, got -1"),
        ({"patch_mode": "random"}, "`patch_mode=random` is for training"),
        ({"patch_mode": "warp"}, "`patch_mode` must be one of windows, random, resize, got 'warp'"),
    ],
)
def test_choices_that_cannot_be(tiny, arguments, message):
    with pytest.raises(UserError, match=message):
        load(tiny.path, **arguments)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory, write_dataset):
    sizes = {"frames": (1, 30), "mel_bands": 3, "tracks_per_label": 5, "shards_per_part": 9}
    return write_dataset(tmp_path_factory.mktemp("uneven") / "dataset", parts=("a", "b"), **sizes)


@pytest.fixture(scope="module")
def even(tmp_path_factory, write_dataset):
    sizes = {"frames": (22, 23), "mel_bands": 3, "tracks_per_label": 5, "shards_per_part": 9}
    return write_dataset(tmp_path_factory.mktemp("even") / "dataset", parts=("a", "b"), **sizes)


def batches(data, **arguments):
    return values(load(data.path, **arguments))


def values(dataset):
    return [[part.tolist() for part in batch] for batch in dataset.as_numpy_iterator()]


@pytest.mark.parametrize(("name", "shuffle_bytes"), [("even", 2000), ("uneven", 1), ("uneven", 2000)])
@pytest.mark.parametrize(
    "arguments",
    [
        {"training": True, "batch_size": 7, "patch_frames": 4},
        {"training": True, "batch_size": 64, "patch_frames": 5, "patch_hop": 2, "patch_mode": "random"},
        {"training": True, "batch_size": 4, "patch_frames": 8, "patch_mode": "resize"},
        {"batch_size": 10, "patch_frames": 4, "patch_hop": 9},
    ],
)
def test_any_step(name, shuffle_bytes, arguments, request, monkeypatch):
    monkeypatch.setattr(reader, "SHUFFLE_BYTES", shuffle_bytes)
    data = request.getfixturevalue(name)
    common = {"seed": 5, **arguments}
    two = batches(data, epoch=1, epochs=2, **common)
    steps = len(two) // 2
    assert steps >= 2
    for step in (steps // 2, steps + 1, 2 * steps + 3):
        dataset = load(data.path, epoch=1, epochs=2, step=step, **common)
        assert values(dataset) == two[step:], step
        assert int(dataset.cardinality()) == len(two[step:])


@pytest.mark.parametrize("training", [False, True])
def test_from_memory(uneven, training):
    common = {"patch_frames": 4, "batch_size": 7, "training": training, "in_memory": True}
    two = batches(uneven, epochs=2, **common)
    for step in (1, len(two) // 2, len(two) - 1, len(two)):
        assert batches(uneven, epochs=2, step=step, **common) == two[step:]


def test_the_number_of_threads_changes_nothing(uneven, monkeypatch):
    monkeypatch.setattr(reader, "SHUFFLE_BYTES", 2000)
    dataset = load(uneven.path, patch_frames=4, batch_size=7, training=True, epochs=2)
    found = []
    for threads in (1, 6):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        found.append(values(dataset.with_options(options)))
    assert found[0] == found[1]


def test_a_stream_without_end_goes_on_too(even):
    common = {"patch_frames": 4, "batch_size": 7, "training": True, "epochs": None}
    steps = int(load(even.path, **(common | {"epochs": 1})).cardinality())
    later = load(even.path, step=3 * steps + 2, **common).take(3).as_numpy_iterator()
    expected = load(even.path, epoch=3, step=2, **common).take(3).as_numpy_iterator()
    for one, other in zip(later, expected, strict=True):
        np.testing.assert_array_equal(one[0], other[0])


_HEADER_BYTES = 12


@pytest.fixture(scope="module")
def small(tmp_path_factory, write_dataset):
    sizes = {"tracks_per_label": 1, "mel_bands": 2, "frames": (2, 2), "shards_per_part": 1}
    return write_dataset(tmp_path_factory.mktemp("small") / "dataset", parts=("train",), **sizes)


@pytest.fixture
def copy(small, tmp_path):
    """A copy that a test may damage: its shard, its bytes, and the offset of its second record."""
    shutil.copytree(small.path, tmp_path / "copy")
    path = tmp_path / "copy" / small.shards("train")[0].name
    content = path.read_bytes()
    return path, content, 16 + int.from_bytes(content[:8], "little")


def flip(path, content, bit):
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)


def test_every_single_bit_that_flips_is_found(small, copy):
    path, content, second = copy
    for bit in range(8 * len(content)):
        flip(path, content, bit)
        with pytest.raises(ShardError, match=f"^{re.escape(str(path))}: (corrupt|torn) at byte") as error:
            list(Dataset(path.parent, small.manifest).records("train"))
        offset = int(re.search(r"at byte (\d+)", str(error.value))[1])
        assert offset == (0 if bit // 8 < second else second) or bit // 8 >= 2 * second - 40


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("byte", [0, 1, 7, 8, 11, 12, 40, -4, -1])
def test_it_is_found_while_batches_are_read_and_reading_says_where(copy, byte, training):
    path, content, second = copy
    position = second + byte if byte >= 0 else len(content) + byte
    flip(path, content, 8 * position + 3)
    batches = load(path.parent, patch_frames=2, training=training)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: (corrupt|torn) at byte"), raise_shard_errors():
        list(batches)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: (corrupt|torn) at byte"):
        load(path.parent, patch_frames=2, in_memory=True)


def test_a_dataset_of_an_earlier_version_reads_as_before(uneven, without_lengths, tmp_path):
    shutil.copytree(uneven.path, tmp_path / "copy")
    without_lengths(tmp_path / "copy")
    options = {"patch_frames": 4, "batch_size": 16, "training": True}
    expected = fingerprints(*collect(load(uneven.path, **options)))
    assert fingerprints(*collect(load(tmp_path / "copy", **options))) == expected


def test_counting_before_reading_says_where_too(uneven, without_lengths, tmp_path):
    shutil.copytree(uneven.path, tmp_path / "copy")
    without_lengths(tmp_path / "copy")
    path = tmp_path / "copy" / uneven.shards("b")[0].name
    flip(path, path.read_bytes(), 8 * _HEADER_BYTES // 2)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: corrupt at byte 0"):
        load(tmp_path / "copy", patch_frames=4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("label", [-1, 99])
def test_an_unknown_label_is_named_with_its_record(small, copy, label, training):
    path, content, second = copy
    records = [dataclasses.replace(small.records["train"][1], label=label)]
    with path.open("wb") as file:
        file.write(content[:second])
        writer = RecordWriter(file)
        for record in (*records, *small.records["train"][2:]):
            writer.write(encode(record))
    # So that it has the size that the manifest says, whatever the label takes.
    manifest = json.loads((path.parent / "manifest.json").read_text())
    manifest["parts"]["train"]["shards"][0]["bytes"] = path.stat().st_size
    (path.parent / "manifest.json").write_text(json.dumps(manifest))
    message = f"^{re.escape(str(path))}: record 1: label {label} is none of the 3 labels"
    with pytest.raises(UserError, match=f"{message}; write the dataset again$"), raise_shard_errors():
        list(load(path.parent, patch_frames=2, training=training))
    with pytest.raises(UserError, match=message):
        load(path.parent, patch_frames=2, training=training, in_memory=True)


def test_an_error_of_a_model_passes_and_no_shard_is_read_for_it(own):
    for path in own.shards("fold_0", "fold_1", "fold_2"):
        flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with pytest.raises(tf.errors.InvalidArgumentError, match="bad shape"), raise_shard_errors():
        raise tf.errors.InvalidArgumentError(None, None, "bad shape")


def test_an_error_of_a_model_passes_while_a_fault_waits_ahead(own):
    path = own.shards("fold_0")[1]
    loaded = load(own.path, patch_frames=2)
    flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with pytest.raises(tf.errors.InvalidArgumentError, match="bad shape"), raise_shard_errors():
        with pytest.raises(tf.errors.InvalidArgumentError, match="corrupt at byte 0"):
            list(loaded)
        raise tf.errors.InvalidArgumentError(None, None, "bad shape")


def test_what_looks_like_a_shards_error_is_none():
    with pytest.raises(tf.errors.InvalidArgumentError, match="ShardError: a"), raise_shard_errors():
        raise tf.errors.InvalidArgumentError(None, None, "ShardError: a: corrupt at byte 0")


def test_blocks_within_each_other_each_name_their_shard(own):
    first, second = own.shards("fold_0")[0], own.shards("fold_1")[0]
    for path in (first, second):
        flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with raise_shard_errors():
        for path, part in ((second, "fold_1"), (first, "fold_0")):
            with pytest.raises(UserError, match=f"^{re.escape(str(path))}: corrupt at byte 0"), raise_shard_errors():
                list(load(own.path, parts=[part], patch_frames=2))


def test_a_shard_that_was_read_ahead_before_the_block_is_named(own):
    path = own.shards("fold_0")[1]
    loaded = load(own.path, patch_frames=2)
    flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with pytest.raises(tf.errors.InvalidArgumentError, match="corrupt at byte 0") as error:
        list(loaded)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: corrupt at byte 0"), raise_shard_errors():
        raise error.value


def test_a_directory_whose_name_is_no_utf_8(own, tmp_path):
    data_dir = shutil.copytree(own.path, tmp_path / "odd\udcff")
    path = data_dir / own.shards("fold_1")[0].name
    flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: corrupt at byte 0"), raise_shard_errors():
        list(load(data_dir, patch_frames=2))


def test_a_balanced_epoch_holds_as_many_patches_of_every_label(long):
    options = {"parts": ["fold_0", "fold_1"], "training": True, "seed": 5, **SMALL}
    counts = patches_per_label(long.path, parts=["fold_0", "fold_1"], patch_frames=4)
    patches, labels, _ = cut(long, ["fold_0", "fold_1"], 4, 4)
    assert counts.tolist() == np.bincount(labels).tolist() and len(set(counts.tolist())) > 1
    found, drawn = collect(load(long.path, balanced=True, **options))
    assert np.bincount(drawn).tolist() == [counts.max()] * 3
    assert set(fingerprints(found, drawn)) == set(fingerprints(patches, labels))
    again, _ = collect(load(long.path, balanced=True, **options))
    np.testing.assert_array_equal(found, again)
    other, _ = collect(load(long.path, balanced=True, epoch=1, **options))
    assert len(other) == len(found) and not np.array_equal(found, other)


def test_balanced_batches_are_the_same_from_any_step_on_and_on_any_number_of_hosts(long):
    options = {"parts": ["fold_0", "fold_1"], "training": True, "seed": 5, "balanced": True, "epochs": 2, **SMALL}
    whole = list(load(long.path, **options).as_numpy_iterator())
    resumed = list(load(long.path, step=3, **options).as_numpy_iterator())
    for (patches, labels), (later, same) in zip(whole[3:], resumed, strict=True):
        np.testing.assert_array_equal(patches, later)
        np.testing.assert_array_equal(labels, same)
    hosts = [load(long.path, host_index=host, num_hosts=2, **options).as_numpy_iterator() for host in range(2)]
    for (patches, _), *own in zip(whole, *hosts, strict=True):
        np.testing.assert_array_equal(np.concatenate([rows for rows, _ in own]), patches)


@pytest.mark.parametrize("options", [{"training": False}, {"training": True, "patch_mode": "resize"}])
def test_what_cannot_be_balanced_is_refused(tiny, options):
    with pytest.raises(UserError, match="`balanced` is for training"):
        load(tiny.path, balanced=True, **options)


# TensorFlow fills a batch while the program ends.
ENDS_WHILE_READING = """
import sys, threading, time
from tfrecords.common.command_line import import_tensorflow
import_tensorflow()
from tfrecords import batches, load
fill, is_filling = batches.PatchSource.fill, threading.Event()
def slowly(*arguments):
    is_filling.set()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    fill(*arguments)
batches.PatchSource.fill = slowly
iterator = iter(load(sys.argv[1], training=True, epochs=None, batch_size=4, patch_frames=2, dtype=sys.argv[2]))
next(iterator)
is_filling.clear()
is_filling.wait()
print("end")
"""


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_program_ends_while_an_iterator_is_open(tiny, dtype):
    command = [sys.executable, "-c", ENDS_WHILE_READING, str(tiny.path), dtype]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_an_endless_iterator_ends_with_the_process(tiny, monkeypatch):
    monkeypatch.setattr(reader, "_in_flight", reader._InFlight())
    iterator = iter(load(tiny.path, training=True, epochs=None, batch_size=4, patch_frames=2))
    next(iterator)
    reader._in_flight.end()
    # What was made before.
    assert sum(1 for _ in iterator) <= reader._PREFETCHED_BATCHES + 1
