import dataclasses

import numpy as np
import pytest

from tfrecords.records import iterate, iterate_any_label, iterate_shard
from tfrecords.shard import RecordWriter, ShardError


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert dataclasses.replace(one, log_mel=None) == dataclasses.replace(other, log_mel=None)
        assert one.log_mel.dtype == other.log_mel.dtype
        np.testing.assert_array_equal(one.log_mel, other.log_mel)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_records_come_in_the_order_written(tmp_path, write_dataset, dtype):
    data = write_dataset(tmp_path / dtype, dtype=dtype, segments=3, frames=(2, 9), mel_bands=4)
    for part in data.manifest.parts:
        same(iterate(data.manifest, data.path, part), data.records[part])
        shards = data.manifest.parts[part].shards
        same(
            [record for shard in shards for record in iterate_shard(data.manifest, str(data.path), shard)],
            data.records[part],
        )


def test_an_empty_shard_has_no_records(tmp_path, write_dataset):
    data = write_dataset(tmp_path / "sparse", tracks_per_label=1, shards_per_part=7, frames=(2, 9), mel_bands=4)
    assert [shard.records for shard in data.manifest.parts["test"].shards].count(0) == 4
    same(iterate(data.manifest, data.path, "test"), data.records["test"])


def test_a_missing_shard_is_named(own):
    path = own.shards("fold_1")[1]
    path.unlink()
    with pytest.raises(ShardError, match=f"^{path} cannot be read: No such file"):
        list(iterate(own.manifest, own.path, "fold_1"))


def test_a_torn_shard_is_named_with_its_offset(own):
    path = own.shards("fold_1")[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ShardError, match=rf"^{path}: torn at byte [1-9]\d*: "):
        list(iterate(own.manifest, own.path, "fold_1"))


def test_a_record_that_does_not_parse_is_named_with_its_number(own):
    path = own.shards("fold_1")[0]
    with path.open("ab") as file:
        RecordWriter(file).write(b"\xff garbage")
    with pytest.raises(ShardError, match=rf"^{path}: record 3: not a tf\.train\.Example"):
        list(iterate(own.manifest, own.path, "fold_1"))


def with_labels(manifest, labels):
    """A manifest that names other labels, and no track of the new ones."""
    parts = {
        name: dataclasses.replace(part, tracks={label: part.tracks.get(label, 0) for label in labels})
        for name, part in manifest.parts.items()
    }
    return dataclasses.replace(manifest, labels=labels, parts=parts)


def test_a_label_that_is_none_is_named_with_its_record(own):
    manifest = with_labels(own.manifest, own.manifest.labels[:2])
    path = own.shards("fold_1")[0]
    with pytest.raises(ShardError, match=f"^{path}: record 2: label 2 is none of the 2 labels$"):
        list(iterate(manifest, own.path, "fold_1"))
    same(iterate_any_label(manifest, path), own.records["fold_1"][:3])
