"""Clips in memory: read once, decoded and normalised, so that a batch is one copy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrecords import example
from tfrecords.manifest import Manifest, Shard
from tfrecords.patches import Clips
from tfrecords.records import iterate_shard
from tfrecords.statistics import BandStatistics


def read_clips(
    manifest: Manifest,
    data_dir: str | Path,
    shards: Sequence[Shard],
    *,
    statistics: BandStatistics | None,
    with_track_id: bool,
) -> Clips:
    """All the clips of some shards; their log_mel is float32 and, given statistics, normalised.

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
            first.append(row)
            frames.append(len(record.log_mel))
            labels.append(record.label)
            track_ids.append(record.track_id.encode("utf-8", "surrogateescape"))
            clip = log_mel[row : row + frames[-1]]
            clip[:] = record.log_mel
            if statistics is not None:
                clip -= statistics.mean.astype(np.float32)
                clip *= 1 / statistics.std.astype(np.float32)
            row += frames[-1]
    about = {example.LABEL: tf.constant(labels, tf.int64)}
    if with_track_id:
        about[example.TRACK_ID] = tf.constant(track_ids, tf.string)
    return Clips(tf.constant(log_mel), tf.constant(first, tf.int64), tf.constant(frames, tf.int64), about)
