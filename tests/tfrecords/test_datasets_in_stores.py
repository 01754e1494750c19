"""A dataset in a store reads as the same one on this machine."""

import numpy as np
import pytest

import tfrecords
from tfrecords import object_store, storage
from tfrecords.__main__ import FLAGS, main
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import FILE_NAME, Manifest
from tfrecords.shard_cache import ShardCache

URL = "memory://bucket/below/data"


@pytest.fixture
def data(tmp_path, write_dataset):
    """A dataset here, and its copy at URL."""
    object_store.forget_memory()
    data = write_dataset(tmp_path / "data", frames=(40, 90), mel_bands=4)
    for path in data.path.iterdir():
        storage.copy(path, f"{URL}/{path.name}")
    return data


def test_records_and_manifest(data):
    dataset = Dataset(f"{URL}/")
    assert dataset.manifest.to_json() == Manifest.load(data.path).to_json()
    for part in dataset.manifest.parts:
        found = [record.log_mel for record in dataset.records(part)]
        for one, other in zip(found, data.records[part], strict=True):
            np.testing.assert_array_equal(one, other.log_mel)


@pytest.mark.parametrize(
    "options", [{}, {"training": True}, {"in_memory": True}, {"training": True, "step": 2}], ids=str
)
def test_batches(data, options):
    here, there = (
        list(tfrecords.load(location, batch_size=8, patch_frames=20, **options).as_numpy_iterator())
        for location in (data.path, URL)
    )
    for one, other in zip(here, there, strict=True):
        for values, others in zip(one, other, strict=True):
            np.testing.assert_array_equal(values, others)


def test_commands(data, tmp_path, capsys):
    for name in ("info", "verify", "show"):
        FLAGS.unparse_flags()
        FLAGS([name, f"--png={tmp_path}/grid.png"])
        assert main(FLAGS, [name, URL]) == 0
    assert f"{URL}: " in capsys.readouterr().out
    assert (tmp_path / "grid.png").stat().st_size > 1000


def test_what_is_wrong_is_named(data, tmp_path):
    shard = f"{URL}/{next(iter(data.manifest.parts.values())).shards[0].file}"
    whole = storage.read(shard)
    storage.write(shard, whole[:-9] + b"x" + whole[-8:])
    with pytest.raises(UserError, match=f"{shard}: its SHA-256 is not the manifest's"):
        list(Dataset(URL, cache=ShardCache(tmp_path / "cache", 0)).records(next(iter(data.manifest.parts))))
    storage.write(shard, whole[:-1])
    assert [line.partition(";")[0] for line in Dataset(URL).verify()] == [
        f"{shard}: {len(whole) - 1} bytes, the manifest says {len(whole)}"
    ]
    with pytest.raises(UserError, match=f"{shard} should hold {len(whole)} bytes but is {len(whole) - 1} bytes"):
        tfrecords.load(URL, patch_frames=20)
    storage.delete([shard])
    assert list(Dataset(URL).verify()) == [f"{shard}: missing"]


def test_what_is_no_dataset(data):
    storage.delete([f"{URL}/{FILE_NAME}"])
    for location, message in (
        (URL, "no manifest.json"),
        (f"{URL}s", "no such directory; write a dataset there"),
        (f"{URL}/{next(iter(storage.list_files(URL)))}", "a file, not the directory"),
        ("ftp://host/data", "ftp:// is not known"),
    ):
        with pytest.raises(UserError, match=message) as info:
            Dataset(location)
        assert str(info.value).startswith(location)
    storage.write(f"{URL}/.partial/job.json", b"{}")
    with pytest.raises(UserError, match="an unfinished dataset"):
        Dataset(URL)
