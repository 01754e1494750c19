"""Chunks read by Python are those that TensorFlow's own operations read."""

import re

import numpy as np
import pytest

from tfrecords.command_line import UserError
from tfrecords.dataset import load
from tfrecords.example import Record, encode
from tfrecords.options import ReaderOptions
from tfrecords.reading import reading
from tfrecords.shard import RecordWriter
from tfrecords.streaming import _Pool


@pytest.fixture(scope="module", params=[(22, 23), (1, 30)], ids=["even", "uneven"])
def data(request, tmp_path_factory, write_dataset):
    sizes = {"frames": request.param, "mel_bands": 3, "tracks_per_label": 5, "shards_per_part": 9, "segments": 2}
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset", parts=("a", "b"), **sizes)


@pytest.mark.parametrize("shuffle_bytes", [1, 1500, 1 << 20])
@pytest.mark.parametrize(
    "arguments",
    [
        {"training": True, "patch_frames": 4},
        {"training": True, "patch_frames": 6, "patch_hop": 4},
        {"training": True, "patch_frames": 5, "patch_hop": 2, "patch_mode": "random"},
        {"training": True, "patch_frames": 8, "patch_mode": "resize"},
        {"patch_frames": 4, "patch_hop": 9, "step": 2},
    ],
)
def test_both_ways_of_reading_give_the_same_batches(data, shuffle_bytes, arguments):
    common = {"batch_size": 7, "seed": 3, "epoch": 1, "epochs": 2, **arguments}
    python, graph = (
        load(data.path, options=ReaderOptions(shuffle_bytes=shuffle_bytes, in_graph=in_graph), **common)
        for in_graph in (False, True)
    )
    assert python.element_spec == graph.element_spec
    assert int(python.cardinality()) == int(graph.cardinality())
    pairs = list(zip(python.as_numpy_iterator(), graph.as_numpy_iterator(), strict=True))
    assert len(pairs) > 3
    for one, other in pairs:
        for own, expected in zip(one, other, strict=True):
            np.testing.assert_array_equal(own, expected)


def test_what_was_given_out_stays_as_it_was(data):
    batches = load(data.path, patch_frames=4, batch_size=3, epochs=4, options=ReaderOptions(shuffle_bytes=500))
    kept = [batch for batch, *_ in batches]
    expected = [batch.tobytes() for batch, *_ in batches.as_numpy_iterator()]
    assert [batch.numpy().tobytes() for batch in kept] == expected


def test_streams_of_one_dataset_do_not_meet(data):
    batches = load(data.path, patch_frames=4, batch_size=3, training=True, options=ReaderOptions(shuffle_bytes=500))
    alone = [batch.tobytes() for batch, _ in batches.as_numpy_iterator()]
    both = zip(batches.as_numpy_iterator(), batches.as_numpy_iterator(), strict=True)
    assert [[one[0].tobytes(), other[0].tobytes()] for one, other in both] == [[batch, batch] for batch in alone]


def test_an_array_of_the_pool_is_used_again_once_nobody_has_it():
    pool = _Pool((5, 3), np.dtype(np.float16))
    first = pool.free()
    assert (first.shape, first.dtype, first.ctypes.data % 64) == ((5, 3), np.float16, 0)
    address, view = first.ctypes.data, first[2:]
    del first
    second = pool.free()
    assert not np.shares_memory(second, view)
    del view
    assert pool.free().ctypes.data == address


def test_a_shard_that_ends_early_at_a_record_is_no_shorter_shard(own):
    path = own.shards("fold_1")[1]
    content = path.read_bytes()
    batches = load(own.path, patch_frames=2)
    path.write_bytes(content[: 16 + int.from_bytes(content[:8], "little")])
    with (
        pytest.raises(UserError, match=f"^{re.escape(str(path))}: has 1 records; the manifest says"),
        reading(own.path),
    ):
        list(batches)


def test_a_shard_that_goes_away_is_named(own):
    path = own.shards("fold_1")[1]
    batches = load(own.path, patch_frames=2)
    path.unlink()
    message = f"^{re.escape(str(path))} cannot be read: No such file or directory; write the dataset again"
    with pytest.raises(UserError, match=message), reading(own.path):
        list(batches)


def replace_records(path, *records):
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for record in records:
            writer.write(record)


@pytest.mark.parametrize("in_graph", [False, True])
def test_a_record_that_does_not_parse_is_named(own, in_graph):
    path = own.shards("fold_1")[1]
    batches = load(own.path, patch_frames=2, options=ReaderOptions(in_graph=in_graph))
    replace_records(path, encode(own.records["fold_1"][3]), b"\xff garbage")
    message = f"^{re.escape(str(path))}: record 1: not a tf.train.Example.*; write the dataset again"
    with pytest.raises(UserError, match=message), reading(own.path):
        list(batches)


def test_records_that_are_longer_than_the_manifest_says(own):
    batches = load(own.path, patch_frames=2)
    replace_records(own.shards("fold_1")[1], encode(Record("a.wav", "a", 0, 0, np.zeros((500, 4), np.float16))))
    message = f"^{re.escape(str(own.path))}: records have more frames than the manifest says"
    with pytest.raises(UserError, match=message), reading(own.path):
        list(batches)
