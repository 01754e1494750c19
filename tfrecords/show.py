"""Pictures of a dataset: a grid of spectrograms with their labels."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfrecords.example import Record
from tfrecords.manifest import Manifest
from tfrecords.plots import Spectrogram
from tfrecords.records import iterate

# Enough to see rhythm and timbre; a whole recording would be a smear.
_SHOWN_S = 10.0


def samples(manifest: Manifest, data_dir: str | Path, *, parts: Sequence[str], count: int) -> list[Spectrogram]:
    """Up to `count` spectrograms with their labels in turn, the first tracks of the parts in order.

    Raises:
      ShardError: a shard is torn or corrupt.
    """
    rounds = -(-count // len(manifest.labels))
    first: dict[int, list[Record]] = {label: [] for label in range(len(manifest.labels))}
    for record in _records(manifest, data_dir, parts):
        if record.segment == 0 and len(first[record.label]) < rounds:
            first[record.label].append(record)
        if all(len(records) == rounds for records in first.values()):
            break
    turns = itertools.chain.from_iterable(itertools.zip_longest(*first.values()))
    chosen = [record for record in turns if record is not None][:count]
    frames = int(_SHOWN_S * manifest.frames_per_s)
    return [
        Spectrogram(
            log_mel=record.log_mel[:frames].astype(np.float32),
            title=f"{manifest.labels[record.label]}: {Path(record.track_id).name}",
            frames_per_s=manifest.frames_per_s,
        )
        for record in chosen
    ]


def _records(manifest: Manifest, data_dir: str | Path, parts: Sequence[str]) -> Iterator[Record]:
    return itertools.chain.from_iterable(iterate(manifest, data_dir, part) for part in manifest.select(parts))
