"""The readers that benchmarks.read compares, each in a process of its own: ours, TensorFlow's, and other libraries'.

python -m benchmarks.readers NAME DIR

DIR holds the dataset of benchmarks.shards; what else a reader needs is written beside it once, from the same patches.
Each line on standard input is answered by one on standard output: the patches that the reader gave, the seconds and the
processor time that this and all its processes took. Every reader gives batches of 256 patches in random order, over and
over; each of the other libraries by the settings that its documentation names for speed, in its own format, float16,
with a worker process for each core where it has any.
"""

import contextlib
import functools
import importlib.util
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.processes import session_processes
from benchmarks.shards import MEL_BANDS, PART
from tfrecords.common import command_line
from tfrecords.dataset import Dataset

if TYPE_CHECKING:
    import tensorflow as tf

PATCH_FRAMES = 80
BATCH_SIZE = 256
# So that the start of a stream weighs little; the others take long enough for one epoch.
EPOCHS = 3
# Patches in a shuffle buffer.
_SHUFFLED = 10_000
# Worker processes of the other libraries, where they have any: one for each core.
_WORKERS = os.cpu_count() or 1
_READY = "ready"
# Of /proc/<pid>/stat after the command's name: time in user and kernel mode, also of children that have ended.
_TIME_FIELDS = slice(11, 15)

# Reads some epochs, and returns the number of patches.
Reader = Callable[[], int]


def main() -> None:
    """Answer each line of standard input."""
    # Libraries print: what they say goes to standard error, so that answers are alone.
    answers, sys.stdout = sys.stdout, sys.stderr
    if sys.argv[1] not in PEERS:
        command_line.import_tensorflow()
    read = READERS[sys.argv[1]](Path(sys.argv[2]))
    read()
    print(_READY, file=answers, flush=True)
    for _ in sys.stdin:
        began, began_work = time.perf_counter(), _processor_s()
        patches = read()
        seconds, work = time.perf_counter() - began, _processor_s() - began_work
        print(json.dumps({"patches": patches, "seconds": seconds, "processor_s": work}), file=answers, flush=True)


def _processor_s() -> float:
    """Return the processor time of this process and of those that it started, in seconds."""
    ticks = os.sysconf("SC_CLK_TCK")
    running = 0.0
    for folder in session_processes(os.getsid(0)):
        # One may end between any two of these lines.
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
            running += sum(map(int, fields[_TIME_FIELDS])) / ticks
    return running


def patches_of(data_dir: Path, shard: int | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (patch [PATCH_FRAMES, MEL_BANDS] float16, label) of a dataset, or of one of its shards, in order."""
    dataset = Dataset(data_dir)
    shards = dataset.manifest.parts[PART].shards
    for chosen in shards if shard is None else [shards[shard]]:
        for record in dataset.shard_records(chosen):
            for start in range(0, len(record.log_mel) - PATCH_FRAMES + 1, PATCH_FRAMES):
                yield record.log_mel[start : start + PATCH_FRAMES], record.label


def written_once(path: Path, write: Callable[[Path], None]) -> Path:
    """Return a path after writing it, if it is not there, under another name first."""
    if not path.exists():
        temporary = path.with_name(f"tmp-{os.getpid()}-{path.name}")
        write(temporary)
        temporary.rename(path)
    return path


def _beside(data_dir: Path, format_name: str) -> Path:
    return data_dir.with_name(f"{data_dir.name}_{format_name}")


def _num_shards(data_dir: Path) -> int:
    return len(Dataset(data_dir).manifest.parts[PART].shards)


def _ours(data_dir: Path, *, in_memory: bool = False, **options: Any) -> Reader:
    dataset = Dataset(data_dir)
    options |= {"batch_size": BATCH_SIZE, "training": True, "epochs": EPOCHS}
    if "dtype" not in options:
        options["statistics"] = dataset.manifest.statistics([PART])
    if in_memory:
        kept = dataset.batches(in_memory=True, **options)
        return lambda: _rows(kept)
    return lambda: _rows(dataset.batches(**options))


def _rows(batches: "Iterable[tuple[Any, Any]]") -> int:
    return sum(len(labels) for _, labels in batches)


def _scan(data_dir: Path) -> Reader:
    """Count the records of the shards and parse nothing, which is the least that a reader by TFRecordDataset does."""
    import tensorflow as tf

    dataset = Dataset(data_dir)
    patches = dataset.manifest.num_patches([PART], patch_frames=PATCH_FRAMES, patch_hop=PATCH_FRAMES)
    files = dataset.check_files([PART])

    def read() -> int:
        records = tf.data.Dataset.from_tensor_slices(files).interleave(
            tf.data.TFRecordDataset, cycle_length=16, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        # In batches, so that what is measured is not Python's loop.
        for _ in records.repeat(EPOCHS).batch(64).prefetch(tf.data.AUTOTUNE):
            pass
        return EPOCHS * patches

    return read


def _usual(data_dir: Path) -> Reader:
    """Read patches as people usually store them: a tf.train.Example with a float_list for each."""
    import tensorflow as tf

    folder = written_once(_beside(data_dir, "usual"), lambda path: _write_usual(data_dir, path))
    files = sorted(map(str, folder.iterdir()))
    features = {
        "log_mel": tf.io.FixedLenFeature([PATCH_FRAMES, MEL_BANDS, 1], tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(serialized: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        example = tf.io.parse_single_example(serialized, features)
        return example["log_mel"], example["label"]

    batches = (
        tf.data.Dataset.from_tensor_slices(files)
        .shuffle(len(files))
        .interleave(tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .shuffle(_SHUFFLED)
        .batch(BATCH_SIZE)
        .prefetch(tf.data.AUTOTUNE)
    )
    return lambda: _rows(batches)


def _write_usual(data_dir: Path, path: Path) -> None:
    import tensorflow as tf

    path.mkdir()
    for shard in range(_num_shards(data_dir)):
        with tf.io.TFRecordWriter(str(path / f"{shard:05d}.tfrecord")) as writer:
            for patch, label in patches_of(data_dir, shard):
                feature = {
                    "log_mel": tf.train.Feature(float_list=tf.train.FloatList(value=patch.ravel())),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def _tensor(data_dir: Path) -> Reader:
    """What is fastest by hand: all patches as one float32 tensor, an order for each epoch, a gather for each batch."""
    import tensorflow as tf

    patches, labels = (
        tf.constant(np.array(values, dtype))
        for values, dtype in zip(zip(*patches_of(data_dir), strict=True), (np.float32, np.int32), strict=True)
    )

    def order(epoch: "tf.Tensor") -> "tf.data.Dataset":
        shuffled = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), tf.stack([0, epoch]))
        return tf.data.Dataset.from_tensor_slices(shuffled).batch(BATCH_SIZE)

    orders = tf.data.Dataset.range(EPOCHS, output_type=tf.int32).flat_map(order)
    whole = tf.data.Dataset.from_tensors((patches, labels)).repeat()
    batches = (
        tf.data.Dataset.zip(orders, whole)
        .map(lambda chosen, data: tuple(tf.gather(values, chosen) for values in data), tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
    return lambda: _rows(batches)


def _streaming(data_dir: Path) -> Reader:
    """MosaicML streaming: MDS without compression, arrays of a fixed shape, through PyTorch's DataLoader."""
    from streaming import MDSWriter, StreamingDataset
    from torch.utils.data import DataLoader

    def write(path: Path) -> None:
        columns = {"patch": f"ndarray:float16:{PATCH_FRAMES},{MEL_BANDS}", "label": "int32"}
        with MDSWriter(out=str(path), columns=columns) as writer:
            for patch, label in patches_of(data_dir):
                writer.write({"patch": patch, "label": np.int32(label)})

    folder = written_once(_beside(data_dir, "mds"), write)
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH_SIZE)
    loader = DataLoader(dataset, BATCH_SIZE, num_workers=_WORKERS, persistent_workers=True)
    return lambda: sum(len(batch["label"]) for batch in loader)


def _grain(data_dir: Path) -> Reader:
    """Grain: ArrayRecord files of a patch a group, for random access, shuffled as a whole, read by worker processes."""
    import grain
    from absl import flags
    from array_record.python.array_record_module import ArrayRecordWriter

    def write(path: Path) -> None:
        path.mkdir()
        for shard in range(_num_shards(data_dir)):
            writer = ArrayRecordWriter(str(path / f"{shard:05d}.array_record"), "group_size:1,uncompressed")
            for patch, label in patches_of(data_dir, shard):
                writer.write(np.int32(label).tobytes() + patch.tobytes())
            writer.close()

    def parse(record: bytes) -> tuple[np.ndarray, np.int32]:
        patch = np.frombuffer(record, np.float16, offset=4).reshape(PATCH_FRAMES, MEL_BANDS)
        return patch, np.frombuffer(record, np.int32, 1)[0]

    folder = written_once(_beside(data_dir, "array_record"), write)
    source = grain.sources.ArrayRecordDataSource(sorted(map(str, folder.iterdir())))
    dataset = grain.MapDataset.source(source).seed(0).shuffle().repeat().map(parse).batch(BATCH_SIZE)
    # Grain's worker processes are set up by flags, which nothing else here parses.
    flags.FLAGS.mark_as_parsed()
    workers = grain.MultiprocessingOptions(num_workers=_WORKERS)
    # Worker processes start with the iterator, so that it goes on from epoch to epoch.
    batches = iter(dataset.to_iter_dataset().mp_prefetch(workers))
    return lambda: _rows(itertools.islice(batches, len(source) // BATCH_SIZE))


def _webdataset(data_dir: Path) -> Reader:
    """WebDataset: tar files of arrays, shuffled by file and in a buffer, batched by the workers of PyTorch's loader."""
    import webdataset

    def write(path: Path) -> None:
        path.mkdir()
        for shard in range(_num_shards(data_dir)):
            with webdataset.TarWriter(str(path / f"{shard:05d}.tar")) as writer:
                for number, (patch, label) in enumerate(patches_of(data_dir, shard)):
                    writer.write({"__key__": f"{shard:05d}{number:07d}", "npy": patch, "cls": label})

    folder = written_once(_beside(data_dir, "webdataset"), write)
    files = sorted(map(str, folder.iterdir()))
    dataset = (
        webdataset.WebDataset(files, shardshuffle=len(files))
        .shuffle(_SHUFFLED)
        .decode()
        .to_tuple("npy", "cls")
        .batched(BATCH_SIZE)
    )
    # Worker processes are PyTorch's.
    if importlib.util.find_spec("torch") is None:
        return lambda: _rows(dataset)
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=_WORKERS, persistent_workers=True)
    return lambda: _rows(loader)


def _hugging_face(data_dir: Path) -> Reader:
    """Hugging Face datasets: lists of a fixed length, as Arrow tables, of which NumPy takes batches without a copy."""
    import datasets

    def rows() -> Iterator[dict[str, Any]]:
        for patch, label in patches_of(data_dir):
            yield {"patch": patch.ravel(), "label": label}

    def write(path: Path) -> None:
        patch = datasets.List(datasets.Value("float16"), length=PATCH_FRAMES * MEL_BANDS)
        features = datasets.Features({"patch": patch, "label": datasets.Value("int32")})
        with tempfile.TemporaryDirectory(dir=path.parent) as cache_dir:
            datasets.Dataset.from_generator(rows, features=features, cache_dir=cache_dir).save_to_disk(path)

    datasets.disable_progress_bars()
    dataset = datasets.load_from_disk(str(written_once(_beside(data_dir, "arrow"), write))).with_format("arrow")
    seeds = itertools.count()

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for table in dataset.shuffle(seed=next(seeds)).iter(BATCH_SIZE):
            patches = table["patch"].combine_chunks().flatten().to_numpy()
            yield patches.reshape(-1, PATCH_FRAMES, MEL_BANDS), table["label"].to_numpy()

    return lambda: _rows(batches())


# Of other libraries, which may lie in another environment.
PEERS = ("streaming", "grain", "webdataset", "datasets")
READERS: dict[str, Callable[[Path], Reader]] = {
    "scan": _scan,
    "float16": functools.partial(_ours, dtype="float16"),
    "float32": _ours,
    "in_memory": functools.partial(_ours, in_memory=True),
    "tensor": _tensor,
    "usual": _usual,
    "streaming": _streaming,
    "grain": _grain,
    "webdataset": _webdataset,
    "datasets": _hugging_face,
}

if __name__ == "__main__":
    main()
