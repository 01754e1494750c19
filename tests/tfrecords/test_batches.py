import re

import numpy as np
import pytest

from tfrecords import mapped_shards, reader
from tfrecords.batches import _Pool
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.mapped_shards import MappedShards
from tfrecords.reader import load, raise_shard_errors
from tfrecords.schema import Record, encode
from tfrecords.shard import RecordWriter


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_dataset):
    sizes = {"frames": (1, 30), "mel_bands": 3, "tracks_per_label": 5, "shards_per_part": 9, "segments": 2}
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset", parts=("a", "b"), **sizes)


@pytest.fixture(params=[0, 1 << 30], ids=["mapped by the block", "mapped whole"])
def mapped(request, monkeypatch):
    """Shards of both sizes: those that stay mapped, and those of which only blocks are."""
    monkeypatch.setattr(mapped_shards, "_MAX_MAPPED_BYTES", request.param)


@pytest.mark.usefixtures("mapped")
def test_any_records_of_a_shard_are_those_that_were_written(data):
    shards = MappedShards(Dataset(data.path), ["a", "b"], with_track_ids=True)
    expected = [list(shards.dataset.shard_records(shard)) for shard in shards.shards]
    assert shards.frames().tolist() == [len(record.log_mel) for records in expected for record in records]
    for shard, records in enumerate(expected):
        for begin in range(len(records)):
            for end in range(begin + 1, len(records) + 1):
                found, chosen = shards.read(shard, begin, end), records[begin:end]
                assert found.frames.tolist() == [len(record.log_mel) for record in chosen]
                assert found.labels.tolist() == [record.label for record in chosen]
                assert found.track_ids.tolist() == [record.track_id.encode() for record in chosen]
                for place, record in zip(found.begin.tolist(), chosen, strict=True):
                    size = record.log_mel.nbytes
                    assert bytes(found.data[place : place + size]) == record.log_mel.tobytes()


def test_what_was_given_out_stays_as_it_was(data, monkeypatch):
    monkeypatch.setattr(reader, "SHUFFLE_BYTES", 500)
    batches = load(data.path, patch_frames=4, batch_size=3, epochs=4)
    kept = [batch for batch, *_ in batches]
    expected = [batch.tobytes() for batch, *_ in batches.as_numpy_iterator()]
    assert [batch.numpy().tobytes() for batch in kept] == expected


def test_streams_of_one_dataset_do_not_meet(data, monkeypatch):
    monkeypatch.setattr(reader, "SHUFFLE_BYTES", 500)
    batches = load(data.path, patch_frames=4, batch_size=3, training=True)
    alone = [batch.tobytes() for batch, _ in batches.as_numpy_iterator()]
    both = zip(batches.as_numpy_iterator(), batches.as_numpy_iterator(), strict=True)
    assert [[one[0].tobytes(), other[0].tobytes()] for one, other in both] == [[batch, batch] for batch in alone]


def test_an_array_of_the_pool_is_reused_once_its_views_are_gone():
    pool = _Pool((5, 3), np.dtype(np.float16))
    first = pool.take()
    assert (first.shape, first.dtype, first.ctypes.data % 64) == ((5, 3), np.float16, 0)
    address, view = first.ctypes.data, first[1:][1:].T
    del first
    second = pool.take()
    assert not np.shares_memory(second, view)
    del view
    assert pool.take().ctypes.data == address


def test_a_stream_uses_few_arrays(data, monkeypatch):
    taken = []
    monkeypatch.setattr(reader, "SHUFFLE_BYTES", 500)
    monkeypatch.setattr(_Pool, "take", lambda pool, take=_Pool.take: taken.append(take(pool).ctypes.data) or take(pool))
    for _ in load(data.path, patch_frames=4, batch_size=3, epochs=4):
        pass
    assert len(taken) > 20 * len(set(taken))


@pytest.mark.usefixtures("mapped")
def test_a_shard_that_becomes_shorter_is_named(own, without_lengths):
    # So that its records are found before it changes.
    without_lengths(own.path)
    path = own.shards("fold_1")[1]
    content = path.read_bytes()
    batches = load(own.path, patch_frames=2)
    path.write_bytes(content[: 16 + int.from_bytes(content[:8], "little")])
    message = f"^{re.escape(str(path))}: has changed while it was read: it ends at byte"
    with pytest.raises(UserError, match=message), raise_shard_errors():
        list(batches)


@pytest.mark.usefixtures("mapped")
def test_a_shard_that_has_other_records_by_now_is_named(even):
    path = even.shards("train")[0]
    first, second = even.records["train"][:2]
    batches, same = (load(even.path, patch_frames=2) for _ in range(2))
    replace_records(path, encode(first))
    with (
        pytest.raises(UserError, match=f"^{re.escape(str(path))}: has 1 records; the manifest says 2"),
        raise_shard_errors(),
    ):
        list(batches)
    longer = Record(second.track_id, second.group, 0, 0, np.zeros((500, 4), np.float16))
    replace_records(path, encode(first), encode(longer))
    message = f"^{re.escape(str(path))}: record 1: has 500 frames, a length that the manifest does not say"
    with pytest.raises(UserError, match=message), raise_shard_errors():
        list(same)


@pytest.mark.usefixtures("mapped")
def test_a_shard_that_goes_away_is_named(own):
    path = own.shards("fold_1")[1]
    batches = load(own.path, patch_frames=2)
    path.unlink()
    message = f"^{re.escape(str(path))} cannot be read: No such file or directory; write the dataset again"
    with pytest.raises(UserError, match=message), raise_shard_errors():
        list(batches)


@pytest.fixture
def even(tmp_path, write_dataset):
    """Records of one length, which are not read before their batch; a test may damage them."""
    sizes = {"frames": (6, 6), "mel_bands": 4, "tracks_per_label": 4, "shards_per_part": 6}
    return write_dataset(tmp_path / "even", parts=("train",), **sizes)


def replace_records(path, *records):
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for record in records:
            writer.write(record)


def test_a_record_that_does_not_parse_is_named(even):
    path = even.shards("train")[0]
    batches = load(even.path, patch_frames=2)
    replace_records(path, encode(even.records["train"][0]), b"\xff garbage")
    message = f"^{re.escape(str(path))}: record 1: not a tf.train.Example.*; write the dataset again"
    with pytest.raises(UserError, match=message), raise_shard_errors():
        list(batches)
