"""How people usually store and read patches: one tf.train.Example with a float_list for each, parsed one by one."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.shards import MEL_BANDS, PART
from tfrecords.manifest import Manifest
from tfrecords.records import iterate_shard

_SHUFFLED = 10_000


def write(data_dir: Path, path: Path, *, patch_frames: int) -> list[str]:
    """Writes the patches of a dataset, as many files as it has shards; files that are there already stay."""
    manifest = Manifest.load(data_dir)
    path.mkdir(parents=True, exist_ok=True)
    files = []
    for shard in manifest.parts[PART].shards:
        file = path / shard.file
        files.append(str(file))
        if file.is_file():
            continue
        temporary = path / f".tmp-{shard.file}"
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in iterate_shard(manifest, data_dir, shard):
                for start in range(0, len(record.log_mel) - patch_frames + 1, patch_frames):
                    writer.write(_example(record.log_mel[start : start + patch_frames], record.label))
        temporary.replace(file)
    return files


def _example(patch: np.ndarray, label: int) -> bytes:
    feature = {
        "log_mel": tf.train.Feature(float_list=tf.train.FloatList(value=patch.ravel())),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def read(files: list[str], *, patch_frames: int, batch_size: int) -> tf.data.Dataset:
    """One shuffled epoch of (patches [batch, patch_frames, MEL_BANDS, 1] float32, labels [batch])."""
    features = {
        "log_mel": tf.io.FixedLenFeature([patch_frames, MEL_BANDS, 1], tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_single_example(serialized, features)
        return example["log_mel"], example["label"]

    return (
        tf.data.Dataset.from_tensor_slices(files)
        .shuffle(len(files))
        .interleave(tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .shuffle(_SHUFFLED)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
