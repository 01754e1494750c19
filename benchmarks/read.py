"""How fast patches are read: by ours, by TensorFlow and by other libraries; then memory, and the wait for a batch.

python -m benchmarks.read [--readers=scan,float16,float32,...] [--peers_python=PATH] [--clips=2000] [--rounds=5]
    [--streaming_python=PATH] [--output=FILE.json] [--work_dir=DIR]

The data are clips of noise in the default front end's shape. Every reader (`benchmarks.readers` says how each is set
up) gives shuffled batches of 256 patches from a warm cache of files, in a process of its own, in turn; the medians of
the rounds count. The raw scan counts the records of the same shards and parses nothing.

The other libraries need environments of their own, since Beam imports the pandas that some bring, and MosaicML's wants
older versions of what others need, and PyTorch. What is not installed is left out:

python -m venv build/peers && build/peers/bin/pip install -r benchmarks/requirements.txt
python -m venv build/streaming && build/streaming/bin/pip install mosaicml-streaming==0.13.0 absl-py google-crc32c

Then, on ten times as many shards: the peak memory of a process that reads an epoch, against that of one that reads the
shards ten times over, and the time until a training that goes on in the middle of an epoch has its first batch. At
last, on half as many clips, the wait for an epoch's first batch.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

from benchmarks import processes
from benchmarks.readers import BATCH_SIZE, PATCH_FRAMES, PEERS, READERS
from benchmarks.shards import PART, link_many, write_noise
from tfrecords.common import command_line, files
from tfrecords.dataset import Dataset
from trainer.reports.tables import Table

ROOT = Path(__file__).parents[1]
_TIMES = 10
_MEMORY_ROUNDS = 3
_FIRST_BATCHES = 5
_SCAN = "scan"
_TITLES = {
    _SCAN: "the same shards scanned by TFRecordDataset and not parsed",
    "float16": '`load` with `dtype="float16"`',
    "float32": "`load`, float32, normalised",
    "in_memory": "`load` with `in_memory=True`, float32, normalised",
    "tensor": "a float32 tensor in memory, shuffled and batched by tf.data",
    "usual": "the usual reader: a float_list Example a patch, parse_single_example, shuffle, batch",
    "streaming": "MosaicML streaming: MDS, float16",
    "grain": "Grain: ArrayRecord, float16",
    "webdataset": "WebDataset: tar files of arrays, float16",
    "datasets": "Hugging Face datasets: Arrow, float16, NumPy's format",
}

FLAGS = flags.FlagValues()
flags.DEFINE_list("readers", list(READERS), "readers to compare", flag_values=FLAGS)
flags.DEFINE_string("peers_python", "build/peers/bin/python", "Python that has other libraries", flag_values=FLAGS)
flags.DEFINE_string(
    "streaming_python", "build/streaming/bin/python", "Python that has MosaicML streaming", flag_values=FLAGS
)
flags.DEFINE_integer("clips", 2000, "clips of the dataset", lower_bound=32, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("shards", 16, "shards of the dataset", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("output", None, "also write the table of speeds, as docs/results/read.json is", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where the datasets are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Writes the datasets once, then measures speed, memory, going on, and the first batch."""
    command_line.no_arguments(positional)
    if unknown := set(flag_values.readers) - set(READERS):
        raise command_line.UserError(f"--readers knows {', '.join(READERS)}, got {', '.join(sorted(unknown))}")
    data_dir = _noise(flag_values.clips, flag_values)
    patches = Dataset(data_dir).manifest.num_patches([PART], patch_frames=PATCH_FRAMES, patch_hop=PATCH_FRAMES)
    print(f"{flag_values.clips} clips, {patches} patches, {flag_values.shards} shards", flush=True)
    interpreters = dict.fromkeys(PEERS, flag_values.peers_python) | {"streaming": flag_values.streaming_python}
    speeds = measure(data_dir, flag_values.readers, flag_values.rounds, interpreters)
    print(table(speeds).text(), flush=True)
    if flag_values.output:
        title = f"Reading {flag_values.clips:,} clips of {flag_values.seconds:g} s in {flag_values.shards} shards"
        files.write_text(Path(flag_values.output), as_json(table(speeds), title, flag_values.rounds))
    many = data_dir.with_name(f"{data_dir.name}_x{_TIMES}")
    link_many(data_dir, many, times=_TIMES)
    tell_memory(data_dir, many)
    command_line.import_tensorflow()
    tell_resume(many)
    tell_first_batch(_noise(flag_values.clips // 2, flag_values))


def _noise(clips: int, flag_values: flags.FlagValues) -> Path:
    path = Path(flag_values.work_dir) / f"noise_{clips}x{flag_values.seconds:g}s_{flag_values.shards}"
    write_noise(path, clips=clips, seconds=flag_values.seconds, shards=flag_values.shards)
    return path


@dataclasses.dataclass
class Speeds:
    """What the rounds of one reader gave: patches a second, and processor time of a patch in microseconds."""

    patches_per_s: list[float] = dataclasses.field(default_factory=list)
    work_us: list[float] = dataclasses.field(default_factory=list)

    @property
    def median(self) -> float:
        """Patches a second."""
        return statistics.median(self.patches_per_s)


class _Process:
    """A reader's process, which answers each line that it is sent by one."""

    def __init__(self, stack: contextlib.ExitStack, name: str, data_dir: Path, interpreter: str) -> None:
        self._log = stack.enter_context(tempfile.TemporaryFile("w+", errors="backslashreplace"))  # noqa: SIM115
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log.fileno()}
        self._process = stack.enter_context(
            processes.started("-m", "benchmarks.readers", name, str(data_dir), interpreter=interpreter, **pipes)
        )
        self._answers = iter(self._process.stdout or ())

    def answer(self) -> str:
        """Return the next line of what it prints; empty if it has ended."""
        return next(self._answers, "")

    def ask(self) -> dict[str, float]:
        """Have it read once more."""
        print(file=self._process.stdin, flush=True)
        return json.loads(self.answer() or "{}")

    def last_words(self) -> str:
        """Return the last line that it logged."""
        self._log.seek(0)
        return (self._log.read().strip().splitlines() or ["it ended without a word"])[-1]


def measure(data_dir: Path, readers: Sequence[str], rounds: int, interpreters: Mapping[str, str]) -> dict[str, Speeds]:
    """Return name -> what its rounds gave, of each reader that is installed, after saying which are not.

    Args:
      data_dir: the dataset.
      readers: names of READERS.
      rounds: how many.
      interpreters: name -> the Python that runs it, where that is another one than this.
    """
    speeds: dict[str, Speeds] = {}
    with contextlib.ExitStack() as stack:
        started = {}
        # One after another: while one starts, the others rest.
        for name in readers:
            try:
                process = _Process(stack, name, data_dir, interpreters.get(name, sys.executable))
            except OSError as error:
                print(f"{name} is left out: {error.filename}: {error.strerror}", flush=True)
                continue
            if process.answer():
                started[name], speeds[name] = process, Speeds()
            else:
                print(f"{name} is left out: {process.last_words()}", flush=True)
        for _ in range(rounds):
            for name, process in started.items():
                answer = process.ask()
                speeds[name].patches_per_s.append(answer["patches"] / answer["seconds"])
                speeds[name].work_us.append(1e6 * answer["processor_s"] / answer["patches"])
    return speeds


def table(speeds: Mapping[str, Speeds]) -> Table:
    """Return the speeds, a row for each reader: medians and ranges, and their ratio to the raw scan."""
    rows = []
    scan = speeds.get(_SCAN)
    for name, found in speeds.items():
        spread = f"{min(found.patches_per_s):,.0f} to {max(found.patches_per_s):,.0f}"
        ratio = f"{found.median / scan.median:.2f}" if scan else ""
        work = f"{statistics.median(found.work_us):.1f} µs"
        rows.append([_TITLES[name], f"{found.median:,.0f}", spread, ratio, work])
    return Table(["what", "patches/s", "in all rounds", "of the scan", "processor time a patch"], rows)


def as_json(found: Table, title: str, rounds: int) -> str:
    """Return the table as a file of docs/results."""
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    today = f"{datetime.date.today():%d %B %Y}".lstrip("0")
    machine = f"a machine with {os.cpu_count()} {platform.machine()} cores"
    data = {
        "title": f"{title}: batches of {BATCH_SIZE} patches, shuffled, warm cache, a process for each reader",
        "commands": ["python -m benchmarks.read"],
        "measured": f"{today}, version {versions[0]}, {machine}, medians of {rounds} interleaved rounds",
        "columns": found.columns,
        "rows": found.rows,
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def tell_memory(once: Path, many: Path) -> None:
    """Prints the peak memory of processes that read as many batches of each, medians of some processes in turn."""
    peaks: dict[Path, list[float]] = {once: [], many: []}
    for _ in range(_MEMORY_ROUNDS):
        for path, epochs in ((once, _TIMES), (many, 1)):
            code = f"from benchmarks import read; read.consume({str(path)!r}, epochs={epochs})"
            peaks[path].append(processes.run_checked("-c", code, watch_memory=True).peak_bytes / processes.MIB)
    one, other = (statistics.median(values) for values in peaks.values())
    print(
        f"peak memory: {one:.0f} MiB, of {_TIMES} times the shards {other:.0f} MiB, "
        f"larger / smaller = {other / one:.2f}",
        flush=True,
    )


def consume(data_dir: str, *, epochs: int) -> None:
    """Reads some epochs."""
    dataset = Dataset(data_dir)
    found = dataset.manifest.statistics([PART])
    for _ in dataset.batches(batch_size=BATCH_SIZE, training=True, statistics=found, epochs=epochs):
        pass


def tell_resume(data_dir: Path) -> None:
    """Prints how long the first batch takes from different steps, with the process warm."""
    dataset = Dataset(data_dir)
    steps = int(dataset.batches(batch_size=BATCH_SIZE, training=True).cardinality())
    times = {}
    for step in (0, steps // 2, steps - 2):
        began = time.perf_counter()
        next(iter(dataset.batches(batch_size=BATCH_SIZE, training=True, step=step)))
        times[step] = round(time.perf_counter() - began, 2)
    print(f"step -> seconds to its first batch, of {steps} steps: {json.dumps(times)}", flush=True)


def tell_first_batch(data_dir: Path) -> None:
    """Prints how long the first batch of a training takes, and the longest wait where its epochs meet."""
    dataset = Dataset(data_dir)
    found = dataset.manifest.statistics([PART])
    steps = int(dataset.batches(batch_size=BATCH_SIZE, training=True).cardinality())
    firsts, usual, between = [], [], []
    for _ in range(_FIRST_BATCHES):
        began = time.perf_counter()
        batches = iter(dataset.batches(batch_size=BATCH_SIZE, training=True, statistics=found, epochs=3))
        waits = []
        for _ in range(3 * steps):
            next(batches)
            waits.append(time.perf_counter() - began)
            began = time.perf_counter()
        firsts.append(waits[0])
        usual.append(statistics.median(waits[1:]))
        between.append(max(waits[steps : steps + 2] + waits[2 * steps : 2 * steps + 2]))
    first, wait, gap = (1e3 * statistics.median(values) for values in (firsts, usual, between))
    manifest = dataset.manifest
    print(
        f"{sum(part.records for part in manifest.parts[PART].shards)} clips: first batch after {first:.0f} ms, the "
        f"others every {wait:.2f} ms, the first ones of a later epoch after {gap:.2f} ms at most (medians of "
        f"{_FIRST_BATCHES} trainings that do nothing else)"
    )


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
