import dataclasses
import errno
import hashlib
import io

import numpy as np
import pytest

from tfrecords import records, verify
from tfrecords.manifest import BandStatistics, Manifest
from tfrecords.schema import encode
from tfrecords.shard import RecordWriter


def problems(data, **changes):
    return list(verify.problems(dataclasses.replace(data.manifest, **changes), data.path))


def with_part(data, part, **changes):
    return dict(data.manifest.parts) | {part: dataclasses.replace(data.manifest.parts[part], **changes)}


def with_shard(data, part, index, **changes):
    shards = list(data.manifest.parts[part].shards)
    shards[index] = dataclasses.replace(shards[index], **changes)
    return with_part(data, part, shards=tuple(shards))


def rewritten(data, part, change):
    """Parts of the manifest after the first shard of one was written again, checksum and size right, records not."""
    path = data.shards(part)[0]
    count = data.manifest.parts[part].shards[0].records
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for record in change(data.records[part][:count]):
            writer.write(encode(record))
    return with_shard(data, part, 0, bytes=writer.size, sha256=writer.sha256)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("segments", [1, 3])
def test_a_sound_dataset_has_no_problems(tmp_path, write_dataset, dtype, segments):
    data = write_dataset(tmp_path / "sound", dtype=dtype, segments=segments)
    assert list(verify.problems(Manifest.load(data.path), str(data.path))) == []


def test_empty_shards_and_parts_are_no_problem(tmp_path, write_dataset):
    assert problems(write_dataset(tmp_path / "sparse", tracks_per_label=1, shards_per_part=7)) == []
    assert problems(write_dataset(tmp_path / "empty", tracks_per_label=0)) == []


def test_a_missing_shard(own):
    path = own.shards("fold_1")[0]
    path.unlink()
    assert problems(own) == [f"{path}: missing"]


def test_a_shard_that_cannot_be_read(own, monkeypatch):
    path, digest = own.shards("fold_1")[1], hashlib.file_digest

    def fail(file, name):
        if file.name == str(path):
            raise OSError(errno.EIO, "Input/output error")
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", fail)
    assert problems(own) == [f"{path}: cannot be read: Input/output error"]


def test_a_shard_that_cannot_be_read_to_its_end(own, monkeypatch):
    path = own.shards("fold_1")[1]

    class Broken(io.BytesIO):
        def read(self, size):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(records, "open_shard", lambda opened: Broken() if opened == path else opened.open("rb"))
    assert problems(own) == [f"{path} cannot be read: Input/output error"]


def test_a_truncated_shard(own):
    path = own.shards("fold_1")[1]
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-5])
    (line,) = problems(own)
    assert line.startswith(f"{path}: {size - 5} bytes, the manifest says {size}; {path.name}: torn at byte ")


def test_a_shard_cut_between_records(own):
    path = own.shards("fold_1")[1]
    path.write_bytes(b"")
    (line,) = problems(own)
    assert line.startswith(f"{path}: 0 bytes, the manifest says ") and "its 0 records have good checksums" in line


@pytest.mark.parametrize("where", [0.0, 0.3, 0.99])
def test_a_flipped_bit(own, where):
    path = own.shards("fold_2")[0]
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 4
    path.write_bytes(data)
    (line,) = problems(own)
    assert line.startswith(f"{path}: its SHA-256 is not the manifest's; {path.name}: corrupt at byte ")


def test_two_shards_that_changed_places(own):
    one, other = own.shards("fold_0")
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    lines = problems(own)
    assert [line.split(": ")[0] for line in lines] == [str(one), str(other)]
    assert all("so it is another file" in line for line in lines)


def test_every_damaged_part_is_reported(own):
    own.shards("fold_0")[0].unlink()
    own.shards("fold_2")[1].unlink()
    assert len(problems(own)) == 2


def test_counts_of_two_shards_that_make_up_for_each_other(own):
    first, second = own.manifest.parts["fold_1"].shards
    moved = dataclasses.replace(first, records=2), dataclasses.replace(second, records=4)
    lines = problems(own, parts=with_part(own, "fold_1", shards=moved))
    assert [line.partition(" frames")[0] for line in lines] == [
        f"{path}: found 3 records of {shard.frames}"
        for path, shard in zip(own.shards("fold_1"), (first, second), strict=True)
    ]


def test_tracks_per_label_and_record_lengths(own):
    (line,) = problems(own, parts=with_part(own, "fold_1", tracks={"blues": 2, "jazz": 3, "rock": 1}))
    assert line.startswith("fold_1: tracks per label: found {'blues': 2, 'jazz': 2, 'rock': 2}, the manifest says")
    (line,) = problems(own, parts=with_part(own, "fold_1", record_frames={7: 6}))
    assert line.startswith("fold_1: record lengths: found ")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_statistics_of_other_data(tmp_path, write_dataset, dtype):
    data = write_dataset(tmp_path / dtype, dtype=dtype, frames=(40, 60), mel_bands=4)
    right = data.manifest.parts["valid"].statistics
    off = {"float16": 4e-3, "float32": 1e-6}[dtype] * right.mean[2]
    moved = right.mean + off * (np.arange(4) == 2)
    wider = right.m2 * (1 + 1e-2 * (np.arange(4) == 1))
    for wrong in (
        dataclasses.replace(right, mean=moved),
        dataclasses.replace(right, m2=wider),
        dataclasses.replace(right, mean=right.mean * np.nan),
        dataclasses.replace(data.manifest.parts["test"].statistics, count=right.count),
        dataclasses.replace(BandStatistics.empty(4), count=right.count),
    ):
        (line,) = problems(data, parts=with_part(data, "valid", statistics=wrong))
        assert line == "valid: its records do not have the mean and variance that the manifest says"


def test_a_group_in_two_parts(own):
    (artist,) = {own.records["fold_0"][0].group}
    parts = rewritten(own, "fold_2", lambda records: [dataclasses.replace(records[0], group=artist), *records[1:]])
    (line,) = problems(own, parts=parts)
    track = own.records["fold_2"][0].track_id
    assert line == f"{own.shards('fold_2')[0]}: {track}: its group {artist!r} is in fold_0 too"
    assert problems(own, parts=parts, split={"method": "lists", "group_safe": False}) == []


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_none(own, label):
    parts = rewritten(own, "fold_2", lambda records: [dataclasses.replace(records[0], label=label), *records[1:]])
    lines = problems(own, parts=parts)
    assert lines[0].endswith(f"{own.records['fold_2'][0].track_id}: label {label} is none of the 3 labels")
    assert lines[0].startswith(f"{own.shards('fold_2')[0]}: ")
    assert "tracks per label" in lines[1] and len(lines) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite(own, value):
    def spoil(records):
        log_mel = records[1].log_mel.copy()
        log_mel[2, 1] = value
        return [records[0], dataclasses.replace(records[1], log_mel=log_mel), *records[2:]]

    lines = problems(own, parts=rewritten(own, "fold_2", spoil))
    track = own.records["fold_2"][1].track_id
    assert lines[0] == f"{own.shards('fold_2')[0]}: {track}: holds values that are not finite"


def test_a_record_of_another_shape(own):
    (line,) = problems(own, parts=rewritten(own, "fold_2", lambda records: [wide(record) for record in records]))
    assert line.startswith(f"{own.shards('fold_2')[0]}: record 0: log_mel of ")


def wide(record):
    return dataclasses.replace(record, log_mel=np.repeat(record.log_mel, 2, axis=1))


def test_the_checksum_is_that_of_the_whole_file(own):
    for part in own.manifest.parts.values():
        for shard in part.shards:
            assert hashlib.sha256((own.path / shard.file).read_bytes()).hexdigest() == shard.sha256
