import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from tfrecords.streams import PatchTable, Stream, block_records, count_streams, host_streams


def random_table(rng, *, shards, most_records, most_patches):
    """Shards of any number of records, records of any number of patches, both from 0."""
    records = rng.integers(0, most_records + 1, shards)
    patches = rng.integers(0, most_patches + 1, records.sum())
    return records.tolist(), patches, PatchTable.of(records.tolist(), patches)


def order_of(stream, epoch):
    """All patches of a stream in the order of an epoch."""
    found, window = [], 0
    while blocks := stream.blocks(epoch, window):
        patches = np.concatenate([np.arange(block.first_patch, block.last_patch) for block in blocks])
        found += stream.shuffle(patches, epoch, window).tolist()
        window += 1
    return found


def streams_of(table, count, seed=3, size=2):
    return [Stream(table, index, count, block_records=size, seed=seed) for index in range(count)]


@pytest.fixture(params=range(25))
def case(request):
    """A table of few or many shards, even or not, with fewer shards than streams or more; and a batch size."""
    rng = np.random.default_rng(request.param)
    sizes = {"shards": int(rng.integers(1, 20)), "most_records": int(rng.integers(1, 30))}
    records, patches, table = random_table(rng, most_patches=int(rng.integers(1, 40)), **sizes)
    return records, patches, table, int(rng.choice([1, 4, 7, 10, 24, 100, 256])), int(rng.integers(1, 9))


def test_each_epoch_has_every_patch_once_and_streams_end_together(case):
    _, _, table, batch_size, size = case
    streams = streams_of(table, count_streams(batch_size), size=size)
    for epoch in (0, 1):
        orders = [order_of(stream, epoch) for stream in streams]
        assert [len(order) for order in orders] == [stream.patches for stream in streams]
        assert sorted(patch for order in orders for patch in order) == list(range(table.patches))
        assert max(map(len, orders)) - min(map(len, orders)) <= 1
        # So many rows of every stream fill each batch but the last.
        rows, full = batch_size // len(streams), table.patches // batch_size
        assert min(map(len, orders)) >= rows * full


def test_a_stream_is_a_range_of_records_that_no_other_stream_reads_but_for_its_ends(case):
    _, _, table, batch_size, size = case
    read = []
    for stream in streams_of(table, count_streams(batch_size), size=size):
        blocks = stream.all_blocks()
        for block in blocks:
            assert 0 < block.end - block.begin <= size
            assert block.first_patch < block.last_patch
            first = int(table.first_record[block.shard])
            assert first + block.end <= table.first_record[block.shard + 1]
            assert table.first_patch[first + block.begin] <= block.first_patch
            assert table.first_patch[first + block.end] >= block.last_patch
            read += range(first + block.begin, first + block.end)
    with_patches = np.flatnonzero(np.diff(table.first_patch)).tolist()
    assert set(with_patches) <= set(read)
    assert len(read) - len(set(read)) <= count_streams(batch_size)


def test_any_position_of_an_epoch_is_found(case):
    _, _, table, batch_size, size = case
    for stream in streams_of(table, count_streams(batch_size), size=size)[:3]:
        whole = order_of(stream, 2)
        for position in sorted({0, 1, stream.patches // 2, stream.patches - 1} & set(range(stream.patches))):
            window, begin = stream.window_at(2, position)
            patches = np.concatenate([np.arange(b.first_patch, b.last_patch) for b in stream.blocks(2, window)])
            assert begin <= position < begin + len(patches)
            assert stream.shuffle(patches, 2, window)[position - begin] == whole[position]


def test_the_order_is_a_function_of_seed_and_epoch_and_stays_as_it_is():
    table = PatchTable.of([9, 9, 9, 9], np.full(36, 5))
    orders = {
        (seed, epoch): order_of(Stream(table, 1, 2, block_records=2, seed=seed), epoch)
        for seed in (0, 3, -1, 1 << 40)
        for epoch in (0, 1, 1 << 33)
    }
    assert len(set(map(tuple, orders.values()))) == len(orders)
    # Those of version 3 of the order: another one would go on differently in the middle of an epoch.
    assert orders[3, 1][:8] == [106, 173, 118, 107, 169, 154, 170, 149]


def test_a_long_stream_reads_each_shard_in_one_stretch():
    # 12 shards of 60 blocks, so groups of 3 shards: the first has 128 blocks or more with its third.
    table = PatchTable.of([120] * 12, np.full(1440, 2))
    stream = Stream(table, 0, 1, block_records=2, seed=1)
    orders = []
    for epoch in (0, 1):
        windows = []
        while blocks := stream.blocks(epoch, len(windows)):
            windows.append([block.shard for block in blocks])
        shards = [shard for window in windows for shard in window]
        groups = [set(shards[begin : begin + 180]) for begin in range(0, 720, 180)]
        assert [len(group) for group in groups] == [3, 3, 3, 3]
        assert set().union(*groups) == set(range(12))
        # Within a group, blocks of all its shards are mixed.
        assert len(set(shards[:20])) == 3
        assert sorted(order_of(stream, epoch)) == list(range(table.patches))
        orders.append(groups)
    assert orders[0] != orders[1]


def test_without_a_seed_the_order_is_the_tables():
    table = PatchTable.of([3, 0, 4], np.array([2, 0, 1, 3, 0, 0, 5]))
    orders = [order_of(stream, 4) for stream in streams_of(table, 2, seed=None)]
    assert orders == [list(range(6)), list(range(6, 11))]


def test_a_whole_stream_may_be_one_window():
    table = PatchTable.of([50], np.full(50, 3))
    stream = Stream(table, 0, 1, block_records=1, seed=0, shuffles_all=True)
    assert len(stream.blocks(0, 0)) == 50
    assert not stream.blocks(0, 1)
    assert sorted(order_of(stream, 0)) == list(range(150))


def test_random_numbers_are_spread_and_apart_from_the_order():
    stream = Stream(PatchTable.of([100], np.full(100, 10)), 0, 1, block_records=1000, seed=0)
    numbers = stream.uniform(1000, 0, 0)
    assert 0 <= numbers.min() < 0.05
    assert 0.95 < numbers.max() < 1
    order = np.argsort(stream.shuffle(np.arange(1000), 0, 0))
    assert abs(np.corrcoef(order, numbers)[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("batch_size", "streams"), [(1, 1), (10, 10), (32, 32), (37, 1), (48, 24), (100, 20), (256, 32)]
)
def test_the_number_of_streams_divides_the_batch(batch_size, streams):
    assert count_streams(batch_size) == streams
    assert batch_size % streams == 0


def test_hosts_divide_the_streams():
    assert [host_streams(12, host_index=host, num_hosts=3) for host in range(3)] == [
        range(4),
        range(4, 8),
        range(8, 12),
    ]
    with pytest.raises(
        UserError, match="`num_hosts` must divide the 10 streams of this `batch_size`, so be one of 1, 2, 5, 10, got 4"
    ):
        host_streams(10, host_index=0, num_hosts=4)


def test_windows_of_all_streams_hold_the_bytes_together():
    assert 4 * 32 * 100_000 * block_records(100_000, 32, shuffle_bytes=1 << 30) == pytest.approx(1 << 30, rel=0.02)
    assert block_records(1e12, 32, shuffle_bytes=1) == 1
