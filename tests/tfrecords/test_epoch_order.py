from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from tfrecords.epoch_order import _GROUP, EpochOrder, seek
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


def in_turn(order, records):
    """Names of records: a record of each shard after the other, in groups."""
    for begin in range(0, len(order), _GROUP):
        group = order[begin : begin + _GROUP]
        for turn in range(max(records)):
            yield from (f"{shard}/{turn}".encode() for shard in group if turn < records[shard])


@pytest.mark.parametrize("seed", [0, 3, -1, 1 << 40])
def test_shards_are_read_in_turn_in_an_order_of_the_epoch(shards, seed):
    orders = []
    for epoch in (0, 1):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(shards[0]), dtype=tf.int64), tf.constant([seed, epoch], tf.int64)
        )
        orders.append(order.numpy().tolist())
        assert list(EpochOrder(*shards, seed).iterate(epoch)) == list(in_turn(orders[-1], shards[1]))
    assert orders[0] != orders[1]


def test_without_a_seed_shards_are_read_one_after_another(shards):
    expected = [f"{index}/{record}".encode() for index, number in enumerate(shards[1]) for record in range(number)]
    assert list(EpochOrder(*shards, None).iterate(0)) == list(EpochOrder(*shards, None).iterate(1)) == expected


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_reading_goes_on_from_any_record(shards, seed):
    reader = EpochOrder(*shards, seed)
    whole = list(reader.iterate(2))
    assert len(set(whole)) == len(whole) == sum(shards[1])
    for position in [*range(len(whole)), len(whole), len(whole) + 5]:
        assert list(reader.iterate(2, position)) == whole[position:], position


def test_neighbours_come_from_different_shards_in_training(shards):
    shard_of = [record.split(b"/")[0] for record in EpochOrder(*shards, 0).iterate(0)]
    assert sum(one == other for one, other in pairwise(shard_of)) < 10


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
