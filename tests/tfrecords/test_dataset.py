import dataclasses
import errno
import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfrecords import dataset as dataset_module
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import FILE_NAME, BandStatistics
from tfrecords.schema import encode
from tfrecords.shard import RecordWriter, ShardError

ROOT = Path(__file__).parents[2]


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert dataclasses.replace(one, log_mel=None) == dataclasses.replace(other, log_mel=None)
        assert one.log_mel.dtype == other.log_mel.dtype
        np.testing.assert_array_equal(one.log_mel, other.log_mel)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_records_come_in_the_order_written(tmp_path, write_dataset, dtype):
    data = write_dataset(tmp_path / dtype, dtype=dtype, segments=3, frames=(2, 9), mel_bands=4)
    for part in data.manifest.parts:
        same(Dataset(data.path).records(part), data.records[part])
        shards = data.manifest.parts[part].shards
        same(
            [record for shard in shards for record in Dataset(str(data.path)).shard_records(shard)],
            data.records[part],
        )


def test_an_empty_shard_has_no_records(tmp_path, write_dataset):
    data = write_dataset(tmp_path / "sparse", tracks_per_label=1, shards_per_part=7, frames=(2, 9), mel_bands=4)
    assert [shard.records for shard in data.manifest.parts["test"].shards].count(0) == 4
    same(Dataset(data.path).records("test"), data.records["test"])


def test_a_missing_shard_is_named(own):
    path = own.shards("fold_1")[1]
    path.unlink()
    with pytest.raises(ShardError, match=f"^{path} cannot be read: No such file"):
        list(Dataset(own.path).records("fold_1"))


def test_a_torn_shard_is_named_with_its_offset(own):
    path = own.shards("fold_1")[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ShardError, match=rf"^{path}: torn at byte [1-9]\d*: "):
        list(Dataset(own.path).records("fold_1"))


def test_a_record_that_does_not_parse_is_named_with_its_number(own):
    path = own.shards("fold_1")[0]
    with path.open("ab") as file:
        RecordWriter(file).write(b"\xff garbage")
    with pytest.raises(ShardError, match=rf"^{path}: record 3: not a tf\.train\.Example"):
        list(Dataset(own.path).records("fold_1"))


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
    dataset = Dataset(own.path, manifest)
    with pytest.raises(ShardError, match=f"^{path}: record 2: label 2 is none of the 2 labels$"):
        list(dataset.records("fold_1"))
    same(dataset.shard_records(manifest.parts["fold_1"].shards[0], any_label=True), own.records["fold_1"][:3])


def problems(data, **changes):
    return list(Dataset(data.path, dataclasses.replace(data.manifest, **changes)).verify())


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
    assert list(Dataset(str(data.path)).verify()) == []


def test_empty_shards_and_parts_are_no_problem(tmp_path, write_dataset):
    assert problems(write_dataset(tmp_path / "sparse", tracks_per_label=1, shards_per_part=7)) == []
    assert problems(write_dataset(tmp_path / "empty", tracks_per_label=0)) == []


def test_a_missing_shard(own):
    path = own.shards("fold_1")[0]
    path.unlink()
    assert problems(own) == [f"{path}: missing"]


def test_a_shard_that_cannot_be_read(own, monkeypatch):
    path, digest = own.shards("fold_1")[1], dataset_module._sha256

    def fail(location):
        if location == str(path):
            raise OSError(errno.EIO, "Input/output error")
        return digest(location)

    monkeypatch.setattr(dataset_module, "_sha256", fail)
    assert problems(own) == [f"{path}: cannot be read: Input/output error"]


def test_a_shard_that_cannot_be_read_to_its_end(own, monkeypatch):
    path = own.shards("fold_1")[1]

    class Broken(io.BytesIO):
        def read(self, size):
            raise OSError(errno.EIO, "Input/output error")

    def open_shard(location):
        return Broken() if location == str(path) else Path(location).open("rb")

    monkeypatch.setattr(dataset_module, "open_shard", open_shard)
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


def test_lengths_of_the_records_of_a_shard(own):
    shard = own.manifest.parts["fold_1"].shards[0]
    assert problems(own, parts=with_shard(own, "fold_1", 0, lengths="")) == []
    (line,) = problems(own, parts=with_shard(own, "fold_1", 0, lengths=f"{shard.frames}"))
    assert line == f"{own.shards('fold_1')[0]}: its records have not the lengths that the manifest says"


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


def test_the_table_of_parts_and_labels(own):
    parts = dict(own.manifest.parts)
    parts["fold_1"] = dataclasses.replace(parts["fold_1"], tracks={"blues": 0, "jazz": 5, "rock": 1})
    info = Dataset(own.path, dataclasses.replace(own.manifest, parts=parts)).info()
    assert info.splitlines()[-5:] == [
        "part    blues  jazz  rock  all",
        "fold_0      2     2     2    6",
        "fold_1      0     5     1    6",
        "fold_2      2     2     2    6",
        "all         4     9     5   18",
    ]


def test_the_description_holds_what_one_asks_for(own):
    lines = Dataset(own.path).info().splitlines()
    size = sum(path.stat().st_size for path in own.shards("fold_0", "fold_1", "fold_2"))
    frames = sum(len(record.log_mel) for records in own.records.values() for record in records)
    assert lines[0] == f"tiny: 18 records in 6 shards, {size / 1e6:.1f} MB, {frames * 512 / 22050 / 3600:.2f} hours"
    for line in (
        "front end: sample_rate 22050, frame_length 1024, hop_length 512, compression log10, n_mels 4",
        "records: [frames, 4] float16",
        "split: method given, grouped True, group_safe True",
        "rejects: 2 too_short",
        f"fingerprint: {'f' * 64}",
    ):
        assert line in lines
    assert "rejects: none" in Dataset(own.path, dataclasses.replace(own.manifest, rejects={})).info()


def test_files_are_checked_by_size(own):
    dataset = Dataset(own.path)
    paths = dataset.check_files(["fold_2", "fold_0"])
    assert paths == [str(path) for path in own.shards("fold_0", "fold_2")]
    damaged, missing = own.shards("fold_1")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    missing.unlink()
    dataset.check_files(["fold_0", "fold_2"])
    with pytest.raises(UserError, match=rf"^{damaged} should hold (\d+) bytes but is \d+ bytes"):
        dataset.check_files(["all"])
    damaged.unlink()
    damaged.mkdir()
    with pytest.raises(UserError, match=f"^{damaged} should hold .* but is missing"):
        dataset.check_files(["fold_1"])


def test_a_dataset_is_opened_once(own):
    dataset = Dataset(own.path)
    assert Dataset.of(dataset) is dataset
    opened = Dataset.of(str(own.path))
    assert (opened.location, opened.manifest.to_json()) == (own.path, own.manifest.to_json())
    (own.path / FILE_NAME).unlink()
    labels = [labels for _, labels, _ in dataset.batches(parts=["fold_1"], patch_frames=5).as_numpy_iterator()]
    assert np.concatenate(labels).tolist() == [record.label for record in own.records["fold_1"]]
    with pytest.raises(UserError, match=r"no manifest\.json"):
        Dataset(own.path)


def test_writing_verifying_and_describing_do_not_import_tensorflow(own):
    code = (
        "import sys, tfrecords; from tfrecords import augmentation, dataset, manifest, schema, shard, tfds; "
        "data = tfrecords.Dataset(sys.argv[1]); data.info(); assert not list(data.verify()); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, own.path], cwd=ROOT, check=True)
