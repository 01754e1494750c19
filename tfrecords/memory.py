"""Clips in memory: read once, decoded and normalised, so that a batch is one copy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrecords import example
from tfrecords.manifest import Manifest, Shard
from tfrecords.patches import Clips, Cutter
from tfrecords.records import iterate_shard
from tfrecords.statistics import BandStatistics


def read_clips(
    manifest: Manifest,
    data_dir: str | Path,
    shards: Sequence[Shard],
    cutter: Cutter,
    *,
    statistics: BandStatistics | None,
    with_track_id: bool,
) -> Clips:
    """All the clips of some shards; their log_mel is float32 and, given statistics, normalised.

    Frames that are in no patch of the cutter's are left out.

    Raises:
      ShardError: a shard is missing, torn or corrupt; the message names file and offset.
    """
    log_mel = np.empty((sum(shard.frames for shard in shards), manifest.mel_bands), np.float32)
    first: list[int] = []
    frames: list[int] = []
    labels: list[int] = []
    track_ids: list[bytes] = []
    row = 0
    for shard in shards:
        for record in iterate_shard(manifest, data_dir, shard):
            used = record.log_mel[: cutter.used(len(record.log_mel))]
            first.append(row)
            frames.append(len(record.log_mel))
            labels.append(record.label)
            track_ids.append(example.to_bytes(record.track_id))
            clip = log_mel[row : row + len(used)]
            clip[:] = used
            if statistics is not None:
                clip -= statistics.mean.astype(np.float32)
                clip *= 1 / statistics.scale.astype(np.float32)
            row += len(used)
    about = {example.LABEL: tf.constant(labels, tf.int64)}
    if with_track_id:
        about[example.TRACK_ID] = tf.constant(track_ids, tf.string)
    return Clips(tf.constant(log_mel[:row]), tf.constant(first, tf.int64), tf.constant(frames, tf.int64), about)
