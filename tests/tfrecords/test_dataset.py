import dataclasses
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

import tfrecords
from tfrecords import sources
from tfrecords.common.command_line import UserError
from tfrecords.reader import load


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
    monkeypatch.setattr(sources, "_SHUFFLE_BYTES", shuffle_bytes)
    sizes = {"patch_frames": patch_frames, "patch_hop": patch_hop}
    patches, labels, track_ids = collect(load(long.path, parts=("fold_1", "fold_2"), **sizes))
    expected = cut(long, ["fold_1", "fold_2"], **sizes)
    np.testing.assert_array_equal(patches, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    assert track_ids.tolist() == expected[2]


def test_the_hop_is_a_patch_unless_told(long):
    found = collect(load(long.path, parts=["fold_0"], patch_frames=5))
    np.testing.assert_array_equal(found[0], cut(long, ["fold_0"], 5, 5)[0])


@pytest.mark.parametrize("shuffle_bytes", [1, 5000])
def test_an_epoch_of_training_holds_every_patch_once(long, shuffle_bytes, monkeypatch):
    monkeypatch.setattr(sources, "_SHUFFLE_BYTES", shuffle_bytes)
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
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"patch_frames": 0}, "patch_frames must be at least 1, got 0"),
        ({"patch_hop": 0}, "patch_hop must be at least 1, got 0"),
        ({"patch_hop": -1}, "patch_hop must be at least 1, got -1"),
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
def test_hosts_share_every_epoch(long, training):
    for num_hosts in (2, 5):
        parts = [
            load(long.path, training=training, host_index=host, num_hosts=num_hosts, epoch=1, **SMALL)
            for host in range(num_hosts)
        ]
        found = [fingerprints(*collect(part)[:2]) for part in parts]
        assert [int(part.cardinality()) for part in parts] == [-(-len(one) // 10) for one in found]
        expected = fingerprints(*cut(long, ["fold_0", "fold_1", "fold_2"], 4, 4)[:2])
        assert Counter(patch for one in found for patch in one) == Counter(expected)


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
        ({"num_hosts": 7}, "train, valid, test have 6 shards, too few for 7 hosts"),
        ({"num_hosts": 2, "host_index": 2}, "host_index must be from 0 to 1, got 2"),
        ({"num_hosts": 0}, "num_hosts must be at least 1, got 0"),
        ({"step": -1}, "step must be at least 0, got -1"),
        ({"patch_mode": "random"}, "patch_mode 'random' is for training"),
        ({"patch_mode": "warp"}, "patch_mode must be one of windows, random, resize, got 'warp'"),
    ],
)
def test_choices_that_cannot_be(tiny, arguments, message):
    with pytest.raises(UserError, match=message):
        load(tiny.path, **arguments)
