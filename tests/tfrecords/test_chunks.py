import re

import numpy as np
import pytest

from tfrecords import chunks
from tfrecords.chunks import HostShards, ShardSource, _Pool, raise_shard_errors
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.epoch_order import EpochOrder
from tfrecords.patches import PatchExtractor
from tfrecords.reader import load
from tfrecords.schema import Record, decode, encode
from tfrecords.shard import RecordWriter


@pytest.fixture(scope="module", params=[(22, 23), (1, 30)], ids=["even", "uneven"])
def data(request, tmp_path_factory, write_dataset):
    sizes = {"frames": request.param, "mel_bands": 3, "tracks_per_label": 5, "shards_per_part": 9, "segments": 2}
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset", parts=("a", "b"), **sizes)


@pytest.mark.parametrize("chunk_records", [1, 7, 1000])
@pytest.mark.parametrize(
    ("seed", "extractor"),
    [
        (3, PatchExtractor("windows", 6, 4)),
        (3, PatchExtractor("resize", 8, 8)),
        (None, PatchExtractor("windows", 4, 9)),
    ],
)
def test_chunks_hold_the_records_in_order_without_frames_of_no_patch(data, seed, extractor, chunk_records):
    shards = HostShards.of(Dataset(data.path), ["a", "b"], host_index=0, num_hosts=1)
    order = EpochOrder(shards.files, shards.records, seed)
    source = ShardSource(shards, extractor, seed=seed, chunk_records=chunk_records)
    found = list(source.decoded_chunks(1, 3, 2).as_numpy_iterator())
    expected = []
    for epoch in (1, 2):
        records = [decode(serialized, mel_bands=3, dtype="float16") for serialized in order.iterate(epoch)]
        pieces = [records[begin : begin + chunk_records] for begin in range(0, len(records), chunk_records)]
        counts = [sum(extractor.count(len(record.log_mel)) for record in piece) for piece in pieces]
        assert list(source.patch_counts(epoch)) == counts
        expected += [(epoch, number, piece) for number, piece in enumerate(pieces) if (epoch, number) >= (1, 2)]
    assert [chunk[:2] for chunk in found] == [chunk[:2] for chunk in expected]
    for (_, _, log_mel, about), (_, _, piece) in zip(found, expected, strict=True):
        rows = [record.log_mel[: extractor.used(len(record.log_mel))] for record in piece]
        np.testing.assert_array_equal(log_mel, np.concatenate(rows))
        assert about["frames"].tolist() == [len(record.log_mel) for record in piece]
        assert about["label"].tolist() == [record.label for record in piece]
        if seed is None:
            assert about["track_id"].tolist() == [record.track_id.encode() for record in piece]


def test_what_was_given_out_stays_as_it_was(data, monkeypatch):
    monkeypatch.setattr(chunks, "_SHUFFLE_BYTES", 500)
    batches = load(data.path, patch_frames=4, batch_size=3, epochs=4)
    kept = [batch for batch, *_ in batches]
    expected = [batch.tobytes() for batch, *_ in batches.as_numpy_iterator()]
    assert [batch.numpy().tobytes() for batch in kept] == expected


def test_streams_of_one_dataset_do_not_meet(data, monkeypatch):
    monkeypatch.setattr(chunks, "_SHUFFLE_BYTES", 500)
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
    monkeypatch.setattr(chunks, "_SHUFFLE_BYTES", 500)
    monkeypatch.setattr(_Pool, "take", lambda pool, take=_Pool.take: taken.append(take(pool).ctypes.data) or take(pool))
    for _ in load(data.path, patch_frames=4, batch_size=3, epochs=4):
        pass
    assert len(taken) > 20 * len(set(taken))


def test_a_shard_that_ends_early_at_a_record_is_no_shorter_shard(own):
    path = own.shards("fold_1")[1]
    content = path.read_bytes()
    batches = load(own.path, patch_frames=2)
    path.write_bytes(content[: 16 + int.from_bytes(content[:8], "little")])
    with (
        pytest.raises(UserError, match=f"^{re.escape(str(path))}: has 1 records; the manifest says"),
        raise_shard_errors(),
    ):
        list(batches)


def test_a_shard_that_goes_away_is_named(own):
    path = own.shards("fold_1")[1]
    batches = load(own.path, patch_frames=2)
    path.unlink()
    message = f"^{re.escape(str(path))} cannot be read: No such file or directory; write the dataset again"
    with pytest.raises(UserError, match=message), raise_shard_errors():
        list(batches)


def replace_records(path, *records):
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for record in records:
            writer.write(record)


def test_a_record_that_does_not_parse_is_named(own):
    path = own.shards("fold_1")[1]
    batches = load(own.path, patch_frames=2)
    replace_records(path, encode(own.records["fold_1"][3]), b"\xff garbage")
    message = f"^{re.escape(str(path))}: record 1: not a tf.train.Example.*; write the dataset again"
    with pytest.raises(UserError, match=message), raise_shard_errors():
        list(batches)


def test_records_that_are_longer_than_the_manifest_says(own):
    batches = load(own.path, patch_frames=2)
    replace_records(own.shards("fold_1")[1], encode(Record("a.wav", "a", 0, 0, np.zeros((500, 4), np.float16))))
    message = f"^{re.escape(str(own.path))}: records have more frames than the manifest says"
    with pytest.raises(UserError, match=message), raise_shard_errors():
        list(batches)
