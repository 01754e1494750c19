import shutil

import pytest

from benchmarks.shards import write_noise
from tools import store_readers


def options(tmp_path, **more):
    common = {"batch_size": 32, "num_hosts": 1, "host_index": 0, "patches_per_s": None, "rows": True}
    return common | {"cache_dir": str(tmp_path / "cache")} | more


def test_the_rows_of_hosts_are_those_of_one(tmp_path):
    write_noise(tmp_path / "data", clips=16, seconds=12, shards=4)
    whole = store_readers.read(str(tmp_path / "data"), options(tmp_path))
    halves = [
        store_readers.read(str(tmp_path / "data"), options(tmp_path, host_index=host, num_hosts=2))["rows"]
        for host in range(2)
    ]
    assert [one + other for one, other in zip(*halves, strict=True)] == whole["rows"]
    assert sum(map(len, whole["rows"])) == 16 * 6
    assert whole["first_s"] > 0 and whole["memory_bytes"] > 1e6 and whole["processor_us"] > 0


def test_batches_are_taken_at_the_pace_that_is_asked_for(tmp_path):
    write_noise(tmp_path / "data", clips=16, seconds=12, shards=4)
    found = store_readers.read(str(tmp_path / "data"), options(tmp_path, patches_per_s=320, rows=False))
    # Three batches, a tenth of a second each, that are there before their time.
    assert found["rows"] == [] and 0 <= found["waiting"] < 0.5


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("moto_server") is None, reason="moto is not installed")
def test_hosts_fetch_their_shares(tmp_path):
    from tools.emulated_stores import emulator

    with emulator("s3", tmp_path, tmp_path) as upstream:
        problems, line = store_readers.hosts(
            "s3", upstream, tmp_path, clips=320, shards=160, share=0.02, latency_s=0.0, seed=0
        )
    assert problems == [] and "1, 2 and 4 hosts" in line
