"""A stream that starts within an epoch gives what an unbroken one gives from there on."""

import numpy as np
import pytest
import tensorflow as tf

from tfrecords import sources
from tfrecords.reader import load


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
    monkeypatch.setattr(sources, "_SHUFFLE_BYTES", shuffle_bytes)
    data = request.getfixturevalue(name)
    common = {"seed": 5, **arguments}
    two = batches(data, epoch=1, epochs=2, **common)
    steps = len(two) // 2
    assert steps >= 2
    for step in (1, steps // 2, steps + 1, 2 * steps + 3):
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
    monkeypatch.setattr(sources, "_SHUFFLE_BYTES", 2000)
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
