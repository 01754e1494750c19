"""How fast patches are read, against the usual reader, the disk's own speed and memory; what ten times the data cost.

python -m benchmarks.read [--clips=2000] [--rounds=5] [--work_dir=DIR]

The data are clips of noise in the default front end's shape. Every reader gives shuffled batches of 256 patches, over
and over, in one process, in turn, from a warm cache of files; the medians of the rounds count. The raw scan counts
the records of the same shards and parses nothing.

Then, on ten times as many shards: the peak memory of a process that reads an epoch, against that of one that reads the
shards ten times over, and the time until a training that goes on in the middle of an epoch has its first batch.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from benchmarks import processes
from benchmarks.shards import MEL_BANDS, PART, link_many, write_noise
from tfrecords.common import command_line
from tfrecords.dataset import Dataset

if TYPE_CHECKING:
    import tensorflow as tf

PATCH_FRAMES = 80
BATCH_SIZE = 256
_TIMES = 10
_MEMORY_ROUNDS = 3
# Patches in the usual reader's shuffle buffer.
_SHUFFLED = 10_000
# So that the start of a stream weighs little; the usual reader takes long enough for one.
_EPOCHS = 3
_USUAL, _DISK, _HALF, _CACHED = "usual reader", "from disk", "float16 batches", "in memory"
_SCAN, _TENSOR = "raw scan", "float32 tensor"
_RATIOS = ((_DISK, _USUAL), (_DISK, _SCAN), (_HALF, _SCAN), (_CACHED, _TENSOR))

FLAGS = flags.FlagValues()
flags.DEFINE_integer("clips", 2000, "clips of the dataset", lower_bound=16, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("shards", 16, "shards of the dataset", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where the datasets are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Writes the datasets once, then measures speed, memory and going on."""
    command_line.no_arguments(positional)
    command_line.import_tensorflow()
    sizes = f"{flag_values.clips}x{flag_values.seconds:g}s_{flag_values.shards}"
    data_dir = Path(flag_values.work_dir) / f"noise_{sizes}"
    manifest = write_noise(data_dir, clips=flag_values.clips, seconds=flag_values.seconds, shards=flag_values.shards)
    patches = manifest.num_patches([PART], patch_frames=PATCH_FRAMES, patch_hop=PATCH_FRAMES)
    print(f"{flag_values.clips} clips, {patches} patches, {flag_values.shards} shards", flush=True)
    tell_speed(readers(data_dir, data_dir.with_name(f"usual_{sizes}"), patches), flag_values.rounds)
    many = data_dir.with_name(f"{data_dir.name}_x{_TIMES}")
    link_many(data_dir, many, times=_TIMES)
    tell_memory(data_dir, many)
    tell_resume(many)


def readers(data_dir: Path, usual_dir: Path, patches: int) -> dict[str, Callable[[], tuple["tf.data.Dataset", int]]]:
    """Name -> a function that gives a dataset and how many patches come out of it."""
    usual = write_usual(data_dir, usual_dir)
    dataset = Dataset(data_dir)
    files = dataset.check_files([PART])
    ours: dict[str, Any] = {"batch_size": BATCH_SIZE, "training": True, "epochs": _EPOCHS}
    normalised = ours | {"statistics": dataset.manifest.statistics([PART])}
    cached = dataset.batches(in_memory=True, **normalised)
    tensor = _float32_tensor(data_dir)
    return {
        _USUAL: lambda: (read_usual(usual), patches),
        _DISK: lambda: (dataset.batches(**normalised), _EPOCHS * patches),
        _HALF: lambda: (dataset.batches(dtype="float16", **ours), _EPOCHS * patches),
        _CACHED: lambda: (cached, _EPOCHS * patches),
        _SCAN: lambda: (_scan(files), _EPOCHS * patches),
        _TENSOR: lambda: (_batches_of(*tensor), _EPOCHS * patches),
    }


def write_usual(data_dir: Path, path: Path) -> list[str]:
    """Writes a dataset's patches as people usually store them: a tf.train.Example with a float_list for each.

    As many files as the dataset has shards; those that are there already stay.
    """
    import tensorflow as tf

    dataset = Dataset(data_dir)
    path.mkdir(parents=True, exist_ok=True)
    files = []
    for shard in dataset.manifest.parts[PART].shards:
        file = path / shard.file
        files.append(str(file))
        if file.is_file():
            continue
        temporary = path / f".tmp-{shard.file}"
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in dataset.shard_records(shard):
                for start in range(0, len(record.log_mel) - PATCH_FRAMES + 1, PATCH_FRAMES):
                    writer.write(_example(record.log_mel[start : start + PATCH_FRAMES], record.label))
        temporary.replace(file)
    return files


def _example(patch: np.ndarray, label: int) -> bytes:
    import tensorflow as tf

    feature = {
        "log_mel": tf.train.Feature(float_list=tf.train.FloatList(value=patch.ravel())),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def read_usual(files: list[str]) -> "tf.data.Dataset":
    """One shuffled epoch of (patches [batch, PATCH_FRAMES, MEL_BANDS, 1] float32, labels [batch]), each parsed."""
    import tensorflow as tf

    features = {
        "log_mel": tf.io.FixedLenFeature([PATCH_FRAMES, MEL_BANDS, 1], tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(serialized: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        example = tf.io.parse_single_example(serialized, features)
        return example["log_mel"], example["label"]

    return (
        tf.data.Dataset.from_tensor_slices(files)
        .shuffle(len(files))
        .interleave(tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .shuffle(_SHUFFLED)
        .batch(BATCH_SIZE)
        .prefetch(tf.data.AUTOTUNE)
    )


def _scan(files: list[str]) -> "tf.data.Dataset":
    import tensorflow as tf

    records = tf.data.Dataset.from_tensor_slices(files).interleave(
        tf.data.TFRecordDataset,
        cycle_length=16,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    # In batches, so that what is measured is not Python's loop.
    return records.repeat(_EPOCHS).batch(64).prefetch(tf.data.AUTOTUNE)


def _float32_tensor(data_dir: Path) -> tuple["tf.Tensor", "tf.Tensor"]:
    import tensorflow as tf

    pieces = list(Dataset(data_dir).batches().map(lambda patches, labels, track_ids: (patches, labels)))
    return tf.concat([patches for patches, _ in pieces], 0), tf.concat([labels for _, labels in pieces], 0)


def _batches_of(patches: "tf.Tensor", labels: "tf.Tensor") -> "tf.data.Dataset":
    """What is fastest by hand: all patches as one tensor, an order for each epoch, a gather for each batch."""
    import tensorflow as tf

    def order(epoch: "tf.Tensor") -> "tf.data.Dataset":
        shuffled = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), tf.stack([0, epoch]))
        return tf.data.Dataset.from_tensor_slices(shuffled).batch(BATCH_SIZE)

    orders = tf.data.Dataset.range(_EPOCHS, output_type=tf.int32).flat_map(order)
    whole = tf.data.Dataset.from_tensors((patches, labels)).repeat()
    return (
        tf.data.Dataset.zip(orders, whole)
        .map(lambda chosen, data: tuple(tf.gather(values, chosen) for values in data), tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def tell_speed(found: dict[str, Callable[[], tuple["tf.data.Dataset", int]]], rounds: int) -> None:
    """Prints patches per second of each reader and its processor time a patch, and the ratios that count."""
    speeds: dict[str, list[float]] = {name: [] for name in found}
    work_us: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, make in found.items():
            dataset, patches = make()
            began, began_work = time.perf_counter(), time.process_time()
            for _ in dataset:
                pass
            speeds[name].append(patches / (time.perf_counter() - began))
            work_us[name].append(1e6 * (time.process_time() - began_work) / patches)
    print(f"patches/s, median of {rounds} rounds (slowest to fastest), and processor time")
    for name, values in speeds.items():
        print(
            f"  {name:<16}{statistics.median(values):10,.0f}   ({min(values):,.0f} to {max(values):,.0f})"
            f"   {statistics.median(work_us[name]):.1f} us a patch"
        )
    for one, other in _RATIOS:
        ratio = statistics.median(speeds[one]) / statistics.median(speeds[other])
        work = statistics.median(work_us[other]) / statistics.median(work_us[one])
        print(f"  {one} / {other} = {ratio:.2f}, by processor time {work:.2f}", flush=True)


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
        f"larger / smaller = {other / one:.2f}"
    )


def consume(data_dir: str, *, epochs: int) -> None:
    """Reads some epochs."""
    dataset = Dataset(data_dir)
    statistics = dataset.manifest.statistics([PART])
    for _ in dataset.batches(batch_size=BATCH_SIZE, training=True, statistics=statistics, epochs=epochs):
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
    print(f"step -> seconds to its first batch, of {steps} steps: {json.dumps(times)}")


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
