from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from tfrecords.epochs import _GROUP, Reader, seek
from tfrecords.shard import RecordWriter


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """More shards than are read side by side, of unequal numbers of records, some without any."""
    records = np.random.default_rng(0).integers(0, 6, 2 * _GROUP + 3).tolist()
    folder = tmp_path_factory.mktemp("shards")
    files = []
    for index, number in enumerate(records):
        path = folder / str(index)
        with path.open("wb") as file:
            writer = RecordWriter(file)
            for record in range(number):
                writer.write(f"{index}/{record}".encode())
        files.append(str(path))
    return files, records


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_reading_goes_on_from_any_record(shards, seed):
    reader = Reader(*shards, seed)
    whole = list(reader.epoch(tf.constant(2, tf.int64)).as_numpy_iterator())
    assert len(set(whole)) == len(whole) == sum(shards[1])
    for position in [*range(0, len(whole), 3), len(whole), len(whole) + 5]:
        rest = reader.rest_of_epoch(2, position)
        assert list(rest.as_numpy_iterator()) == whole[position:], position


def test_neighbours_come_from_different_shards_in_training_only(shards):
    shuffled = list(Reader(*shards, 0).epoch(tf.constant(0, tf.int64)).as_numpy_iterator())
    shard_of = [record.split(b"/")[0] for record in shuffled]
    assert sum(one == other for one, other in pairwise(shard_of)) < 10
    in_order = list(Reader(*shards, None).epoch(tf.constant(0, tf.int64)).as_numpy_iterator())
    expected = [f"{index}/{record}".encode() for index, number in enumerate(shards[1]) for record in range(number)]
    assert in_order == expected


@pytest.mark.parametrize("seed", [None, 3])
def test_python_reads_the_same_records(shards, seed):
    reader = Reader(*shards, seed)
    whole = list(reader.epoch(tf.constant(2, tf.int64)).as_numpy_iterator())
    for position in [*range(0, len(whole), 7), len(whole), len(whole) + 5]:
        assert list(reader.iterate(2, position)) == whole[position:], position


@pytest.mark.parametrize(
    ("records", "position", "group", "passed", "rest"),
    [
        ([3, 3], 0, 2, [0, 0], 0),
        ([3, 3], 3, 2, [1, 1], 1),
        ([1, 4], 4, 2, [1, 3], 0),
        ([2, 0, 2], 2, 3, [1, 0, 1], 0),
        ([2, 2, 5], 6, 2, [2, 2, 2], 0),
        ([2, 2, 5], 5, 1, [2, 2, 1], 0),
        ([2, 2], 7, 2, [2, 2], 3),
        ([], 0, 2, [], 0),
    ],
)
def test_where_a_position_lies(records, position, group, passed, rest):
    assert seek(records, position, group) == (passed, rest)
