import hashlib
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import tfrecords
from tfrecords import object_store, shard_cache, storage
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import Shard
from tfrecords.reader import raise_shard_errors
from tfrecords.shard import ShardError
from tfrecords.shard_cache import CacheError, FetchAhead, ShardCache

URL = "memory://bucket/data"


@pytest.fixture(autouse=True)
def _nothing_checked(monkeypatch):
    object_store.forget_memory()
    monkeypatch.setattr(shard_cache, "_checked", set())


@pytest.fixture
def fetched(monkeypatch):
    """The ranges read of objects, as (name, start, end)."""
    ranges, read_range = [], storage.read_range

    def noted(location, start, end):
        ranges.append((storage.split(location)[1], start, end))
        return read_range(location, start, end)

    monkeypatch.setattr(storage, "read_range", noted)
    return ranges


def put(name, size):
    data = hashlib.shake_128(name.encode()).digest(size)
    storage.write(f"{URL}/{name}", data)
    return Shard(name, 0, 0, size, hashlib.sha256(data).hexdigest()), data


def read(cache, shard):
    with cache.open(f"{URL}/{shard.file}", shard) as file:
        return file.read()


def kept(cache):
    return sorted(path.name for path in cache.directory.iterdir() if not path.name.startswith("."))


def names(*shards):
    return sorted(shard.sha256 for shard in shards)


@pytest.fixture
def cache(tmp_path):
    return ShardCache(tmp_path / "cache", 100)


def test_a_shard_is_fetched_once(cache, fetched, monkeypatch):
    monkeypatch.setattr(shard_cache, "_REQUEST_BYTES", 8)
    shard, data = put("a", 30)
    for _ in range(3):
        assert read(cache, shard) == data
    # Of another process, which compares it anew, or another dataset.
    shard_cache._checked.clear()
    assert read(cache, shard) == data
    assert sorted(fetched) == [("a", 0, 8), ("a", 8, 16), ("a", 16, 24), ("a", 24, 30)]
    assert kept(cache) == names(shard)


def test_the_least_recently_used_go_first(cache):
    shards = [put(name, 40)[0] for name in "abc"]
    for number, shard in enumerate(shards[:2]):
        read(cache, shard)
        os.utime(cache.directory / shard.sha256, (number, number))
    read(cache, shards[0])
    read(cache, shards[2])
    assert kept(cache) == names(shards[0], shards[2])


def test_a_shard_larger_than_the_cache_is_read_all_the_same(cache):
    small, (large, data) = put("a", 40)[0], put("b", 1000)
    read(cache, small)
    assert read(cache, large) == data
    assert kept(cache) == names(large)
    read(cache, small)
    assert kept(cache) == names(small)


def test_what_was_removed_stays_readable_for_who_has_it_open(cache):
    one, data = put("a", 60)
    with cache.open(f"{URL}/a", one) as file:
        read(cache, put("b", 60)[0])
        assert one.sha256 not in kept(cache)
        assert file.read() == data


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 30])
def test_a_file_that_the_disk_has_damaged_is_fetched_again(cache, damage):
    shard, data = put("a", 30)
    cache.directory.mkdir()
    (cache.directory / shard.sha256).write_bytes(damage)
    assert read(cache, shard) == data


def test_an_object_that_is_not_the_manifests_is_refused(cache):
    shard, data = put("a", 30)
    storage.write(f"{URL}/a", data[::-1])
    with pytest.raises(ShardError, match=f"{URL}/a: its SHA-256 is not the manifest's"):
        read(cache, shard)
    storage.write(f"{URL}/a", data[:-1])
    with pytest.raises(ShardError, match=f"{URL}/a cannot be read: "):
        read(cache, shard)
    storage.delete([f"{URL}/a"])
    with pytest.raises(ShardError, match=f"{URL}/a cannot be read: No such file"):
        read(cache, shard)
    assert {path.name for path in cache.directory.iterdir()} == {".lock", f".lock-{shard.sha256[:2]}"}


def test_what_killed_processes_left_is_removed_and_counts_until_then(cache):
    shard, other = put("a", 40)[0], put("b", 40)[0]
    cache.directory.mkdir()
    old, new = (cache.directory / f".tmp-0123456{number}-{'0' * 64}" for number in (1, 2))
    old.write_bytes(b"half")
    os.utime(old, (1, 1))
    new.write_bytes(bytes(50))
    read(cache, shard)
    assert new.exists() and not old.exists()
    read(cache, other)
    assert kept(cache) == names(other)


def test_a_directory_that_cannot_be_used(tmp_path):
    shard, _ = put("a", 30)
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"file.* cannot be used: "):
        read(ShardCache(tmp_path / "file", 100), shard)


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("TFRECORDS_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TFRECORDS_CACHE_BYTES", raising=False)
    assert ShardCache.of() == ShardCache(tmp_path, 16 << 30)
    assert ShardCache.of("relative", 5) == ShardCache(tmp_path.cwd() / "relative", 5)
    monkeypatch.setenv("TFRECORDS_CACHE_BYTES", "1000")
    monkeypatch.delenv("TFRECORDS_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ShardCache.of() == ShardCache(tmp_path / "music_genre_tfrecords" / "shards", 1000)
    for directory, size, message in (("gs://b/c", 1, "must be a directory of this machine"), ("c", -1, "at least 0")):
        with pytest.raises(UserError, match=message):
            ShardCache.of(directory, size)
    monkeypatch.setenv("TFRECORDS_CACHE_BYTES", "16G")
    with pytest.raises(UserError, match="TFRECORDS_CACHE_BYTES must be a number of bytes, got '16G'"):
        ShardCache.of()


PROCESS = """
import hashlib, sys
import numpy as np
from pathlib import Path
from tfrecords import storage
from tfrecords.manifest import Shard
from tfrecords.shard_cache import ShardCache

cache = ShardCache(Path(sys.argv[1]), 20_000)
for index in np.random.default_rng(int(sys.argv[2])).integers(0, 8, 200).tolist():
    data = hashlib.shake_128(bytes([index])).digest(5000 + index)
    url, shard = f"memory://bucket/{index}", Shard(str(index), 0, 0, len(data), hashlib.sha256(data).hexdigest())
    storage.write(url, data)
    with cache.open(url, shard) as file:
        assert file.read() == data
"""


def test_processes_share_it(tmp_path):
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "cache")]
    processes = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "cache").iterdir()}
    assert 10_000 < sum(sizes.values()) <= 20_000
    assert not [name for name in sizes if name.startswith(".tmp")]


def test_threads_fetch_a_shard_once(cache, fetched):
    shard, data = put("a", 30)
    found = []
    threads = [threading.Thread(target=lambda: found.append(read(cache, shard))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [data] * 8
    assert fetched == [("a", 0, 30)]


def wait_until(condition):
    ends = time.monotonic() + 20
    while not condition() and time.monotonic() < ends:
        time.sleep(0.005)
    assert condition()


def test_what_comes_next_is_fetched_in_bounds():
    rounds = [{0, 1}, {1, 2}, {3}, {4}, {0}, {5}]
    done = []
    ahead = FetchAhead(iter(enumerate(rounds)), fetch=done.append, size=lambda item: 10, max_bytes=40)
    ahead.reach(0)
    wait_until(lambda: sorted(done) == [0, 1, 2, 3])
    ahead.reach(1)
    wait_until(lambda: sorted(done) == [0, 1, 2, 3, 4])
    # What is no longer ahead, and comes again, may have been removed: it is asked for again.
    ahead.reach(3)
    wait_until(lambda: sorted(done) == [0, 0, 1, 2, 3, 4, 5])
    ahead.reach(100)


def test_what_cannot_be_fetched_ahead_is_left_to_the_reader():
    done = []

    def fetch(item):
        done.append(item)
        raise ShardError("no")

    ahead = FetchAhead(iter([(0, {0}), (1, {1})]), fetch=fetch, size=lambda item: 1, max_bytes=1)
    ahead.reach(0)
    wait_until(lambda: done == [0])
    ahead.close()
    ahead.reach(1)
    time.sleep(0.05)
    assert done == [0]


@pytest.fixture
def data(tmp_path, write_dataset):
    """A dataset in a store whose records differ in their number of patches."""
    sizes = {"frames": (20, 90), "mel_bands": 4, "tracks_per_label": 8, "shards_per_part": 12}
    data = write_dataset(tmp_path / "data", parts=("a", "b"), **sizes)
    for path in data.path.iterdir():
        storage.copy(path, f"{URL}/{path.name}")
    return data


def bytes_of(fetched):
    return sum(end - start for _, start, end in fetched)


@pytest.mark.parametrize("in_memory", [False, True])
def test_epochs_and_evaluations_fetch_each_shard_once(data, fetched, tmp_path, in_memory):
    options = {"batch_size": 8, "patch_frames": 20, "training": True, "cache_dir": tmp_path / "c"}
    list(tfrecords.load(URL, epochs=2, in_memory=in_memory, **options))
    list(tfrecords.load(URL, **(options | {"training": False})))
    records = Dataset(URL, cache=ShardCache.of(tmp_path / "c")).records("b")
    for record, expected in zip(records, data.records["b"], strict=True):
        np.testing.assert_array_equal(record.log_mel, expected.log_mel)
    shards = [shard for part in data.manifest.parts.values() for shard in part.shards]
    assert bytes_of(fetched) == sum(shard.bytes for shard in shards)


def test_a_host_fetches_its_share(data, fetched, tmp_path):
    sizes = [shard.bytes for part in data.manifest.parts.values() for shard in part.shards]
    own = []
    for host in range(4):
        fetched.clear()
        options = {"batch_size": 8, "patch_frames": 20, "training": True, "host_index": host, "num_hosts": 4}
        list(tfrecords.load(URL, cache_dir=tmp_path / str(host), **options))
        own.append(bytes_of(fetched))
        assert own[-1] < sum(sizes) / 4 + 2.5 * max(sizes)
    assert sum(sizes) <= sum(own) < sum(sizes) + 4 * max(sizes)


def test_with_hardly_any_room_the_batches_are_the_same(data, tmp_path):
    options = {"batch_size": 8, "patch_frames": 20, "training": True, "epochs": 2}
    expected = list(tfrecords.load(data.path, **options).as_numpy_iterator())
    found = list(tfrecords.load(URL, cache_dir=tmp_path / "c", cache_bytes=1, **options).as_numpy_iterator())
    for one, other in zip(found, expected, strict=True):
        for values, others in zip(one, other, strict=True):
            np.testing.assert_array_equal(values, others)
    assert len(kept(ShardCache.of(tmp_path / "c"))) == 1


def test_what_is_wrong_is_said_in_one_line(data, tmp_path):
    shard = data.manifest.parts["a"].shards[0]
    whole = storage.read(f"{URL}/{shard.file}")
    storage.write(f"{URL}/{shard.file}", whole[:-9] + b"x" + whole[-8:])
    batches = tfrecords.load(URL, patch_frames=20, cache_dir=tmp_path / "c")
    with pytest.raises(UserError, match=f"{shard.file}: its SHA-256 .*; write the dataset again"), raise_shard_errors():
        list(batches)
    (tmp_path / "file").touch()
    batches = tfrecords.load(URL, patch_frames=20, cache_dir=tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot be used: .*; name another directory"), raise_shard_errors():
        list(batches)
