"""What hosts fetch of a dataset in an emulated store, how long a reader waits for it, and how much memory it takes."""

import contextlib
import json
import os
import subprocess
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.shards import PART, write_noise
from tfrecords.manifest import Manifest
from tools.emulated_stores import FaultyProxy, environment, root

# Of a patch in float16, 80 frames of 40 bands: what is read of a store at the speed that is asked for is 128 MB/s.
_BATCH_SIZE = 1024
PATCHES_PER_S = 20_000
WAITING_LATENCY_MS = 50.0
# What one host may fetch of its share, and how long a reader may wait, of all its time.
MAX_SHARE, MAX_WAITING = 1.1, 0.02
# Memory of its own that a reader may take more for four times the data.
_MAX_GROWTH_BYTES = 64 << 20


def read(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Read one epoch as one host of several.

    Args:
      url: of the dataset.
      options: `batch_size`, `host_index`, `num_hosts` and `cache_dir` of `tfrecords.load`; `patches_per_s`: how fast
        batches are taken, None: at once; `rows`: whether the rows of each batch are wanted.

    Returns:
      rows: checksums of the rows of each batch; first_s: until the first batch was there; waiting: share of the time
      after it that was spent waiting for others; memory_bytes: most that was its own, without mapped files;
      processor_us: processor time a patch, of all threads.
    """
    from tfrecords.reader import load

    step_s = options["batch_size"] / options["patches_per_s"] if options["patches_per_s"] else 0.0
    names = ("batch_size", "host_index", "num_hosts", "cache_dir")
    began = time.perf_counter()
    batches = load(url, training=True, dtype="float16", **{name: options[name] for name in names}).as_numpy_iterator()
    rows, waited_s, memory, first, taken = [], 0.0, 0, None, 0
    processor_s = time.process_time()
    asked = time.perf_counter()
    for patches, _ in batches:
        came = time.perf_counter()
        waited_s, first = (waited_s + came - asked, first) if first is not None else (0.0, came)
        taken += len(patches)
        if options["rows"]:
            rows.append([zlib.crc32(patch) for patch in patches])
        memory = max(memory, _own_memory())
        time.sleep(max(0.0, came + step_s - time.perf_counter()))
        asked = time.perf_counter()
    first = first or asked
    return {
        "rows": rows,
        "first_s": first - began,
        "waiting": waited_s / max(asked - first, 1e-9),
        "memory_bytes": memory,
        "processor_us": 1e6 * (time.process_time() - processor_s) / max(taken, 1),
    }


def _own_memory() -> int:
    status = Path("/proc/self/status").read_text("ascii")
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


@contextlib.contextmanager
def _reading(url: str, env: Mapping[str, str], **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """Start `read` in a process of its own, which prints what it returns."""
    program = (
        "import json, sys\n"
        "from tfrecords.common import command_line\n"
        "command_line.import_tensorflow()\n"
        "from tools.store_readers import read\n"
        "print(json.dumps(read(sys.argv[1], json.loads(sys.argv[2]))))"
    )
    defaults = {"batch_size": _BATCH_SIZE, "host_index": 0, "num_hosts": 1, "patches_per_s": None, "rows": False}
    with processes.started(
        "-c", program, url, json.dumps(defaults | options), stdout=subprocess.PIPE, env=env
    ) as process:
        yield process


def _result(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a reader ended with status {process.returncode}")
    return json.loads(out)


def put_noise(work_dir: Path, env: Mapping[str, str], url: str, *, clips: int, shards: int) -> Manifest:
    """Write a dataset of noise to this machine, unless it is there, and copy it to a store.

    Args:
      work_dir: where it is kept.
      env: variables by which the store is reached.
      url: of the dataset there.
      clips: how many, of 30 s.
      shards: how many.
    """
    path = work_dir / f"noise_{clips}_{shards}"
    manifest = write_noise(path, clips=clips, seconds=30, shards=shards)
    copy = (
        "import sys; from pathlib import Path; from tfrecords import storage\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    storage.copy(path, f'{sys.argv[2]}/{path.name}')"
    )
    processes.run_checked("-c", copy, str(path), url, env=env)
    return manifest


def hosts(name: str, upstream: int, work_dir: Path, *, clips: int, shards: int, **proxy: Any) -> tuple[list[str], str]:
    """Read a dataset by 1, 2 and 4 hosts, each through a proxy that counts its bytes, with caches of their own.

    Args:
      name: of the store.
      upstream: its port.
      work_dir: where data and caches are kept.
      clips: of the dataset.
      shards: of the dataset.
      **proxy: faults, as `FaultyProxy` takes them.

    Returns:
      What is wrong, a phrase each, and a line that says what was measured.
    """
    url = f"{root(name)}/shares"
    manifest = put_noise(work_dir, os.environ | environment(name, upstream), url, clips=clips, shards=shards)
    whole = sum(shard.bytes for shard in manifest.parts[PART].shards)
    problems, shares, expected = [], [], None
    for count in (1, 2, 4):
        rows, sent = _read_by_hosts(name, upstream, url, work_dir, count, **proxy)
        expected = expected or rows
        if rows != expected:
            problems.append(f"{count} hosts have other batches than one")
        most = max(sent) / (whole / count)
        shares.append(f"{most:.3f}")
        if most > MAX_SHARE:
            problems.append(f"one of {count} hosts fetched {most:.2f} of its share")
    described = f"{whole / 1e6:.0f} MB in {shards} shards; the most that one of 1, 2 and 4 hosts fetched, of its share"
    return problems, f"{described}: {', '.join(shares)}"


def _read_by_hosts(
    name: str, upstream: int, url: str, work_dir: Path, count: int, **proxy: Any
) -> tuple[list[list[int]], list[int]]:
    """Return the rows of each global batch, and the bytes that each host was sent."""
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(FaultyProxy(upstream, **proxy)) for _ in range(count)]
        readers = [
            stack.enter_context(
                _reading(
                    url,
                    os.environ | environment(name, each.port),
                    host_index=index,
                    num_hosts=count,
                    batch_size=256,
                    cache_dir=fresh_cache(work_dir, f"{name}_{count}_{index}"),
                    rows=True,
                )
            )
            for index, each in enumerate(proxies)
        ]
        found = [_result(reader)["rows"] for reader in readers]
    rows = [[row for host in batch for row in host] for batch in zip(*found, strict=True)]
    return rows, [each.bytes_sent for each in proxies]


def waiting(name: str, upstream: int, work_dir: Path, *, clips: Sequence[int]) -> tuple[list[str], list[str]]:
    """Read datasets of two sizes at 20,000 patches/s through latency, from an empty cache.

    Args:
      name: of the store.
      upstream: its port.
      work_dir: where data and caches are kept.
      clips: of the smaller dataset and of the larger.

    Returns:
      What is wrong, a phrase each, and lines that say what was measured.
    """
    found, problems, lines = [], [], []
    for size in clips:
        url = f"{root(name)}/waits_{size}"
        manifest = put_noise(work_dir, os.environ | environment(name, upstream), url, clips=size, shards=size // 40)
        with FaultyProxy(upstream, share=0, latency_s=WAITING_LATENCY_MS / 1000, seed=0) as proxy:
            cache_dir = fresh_cache(work_dir, f"{name}_waits")
            env = os.environ | environment(name, proxy.port)
            with _reading(url, env, patches_per_s=PATCHES_PER_S, cache_dir=cache_dir) as reader:
                found.append(_result(reader))
        megabytes = sum(shard.bytes for shard in manifest.parts[PART].shards) / 1e6
        lines.append(
            f"{megabytes:.0f} MB at {PATCHES_PER_S:,} patches/s through {WAITING_LATENCY_MS:g} ms: waits "
            f"{100 * found[-1]['waiting']:.2f} %, first batch after {found[-1]['first_s']:.1f} s, "
            f"{found[-1]['memory_bytes'] / 1e6:.0f} MB of memory, "
            f"{found[-1]['processor_us']:.0f} us of processor time a patch"
        )
    if (most := max(each["waiting"] for each in found)) > MAX_WAITING:
        problems.append(f"a reader waits {100 * most:.1f} % of its time")
    if (growth := found[-1]["memory_bytes"] - found[0]["memory_bytes"]) > _MAX_GROWTH_BYTES:
        problems.append(f"memory grows with the data, by {growth / 1e6:.0f} MB")
    return problems, lines


def fresh_cache(work_dir: Path, name: str) -> str:
    """Return an empty directory for a cache of shards."""
    path = work_dir / "caches" / name
    for file in path.glob("*"):
        file.unlink()
    return str(path)
