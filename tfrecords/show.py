"""Chooses and prepares what `python -m tfrecords show` draws: spectrograms, or patches with augmented versions."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfrecords.augmentation import Augmentation
from tfrecords.common import command_line
from tfrecords.dataset import Dataset
from tfrecords.plots import Spectrogram
from tfrecords.schema import Record

# Augmented versions of each patch.
VERSIONS = 4
# Enough to see rhythm and timbre; a whole recording would be a smear.
_SHOWN_S = 10.0
# The paper's patch, which models take by default.
_PATCH_FRAMES = 80


def samples(dataset: Dataset, *, parts: Sequence[str], count: int) -> list[Spectrogram]:
    """Return the starts of up to `count` tracks, the first of the parts, with labels in turn.

    Raises:
      ShardError: a shard cannot be read, is torn or corrupt.
      UserError: there is no such part.
    """
    return [_panel(dataset, record) for record in _first_tracks(dataset, parts, count)]


def spectrograms_of(dataset: Dataset, track_ids: Sequence[str]) -> list[Spectrogram]:
    """Return the starts of the given tracks, in their order, without those that are not in the dataset.

    Raises:
      ShardError: a shard cannot be read, is torn or corrupt.
    """
    panels: dict[str, Spectrogram] = {}
    missing = set(track_ids)
    for record in _records(dataset, ["all"]):
        if not missing:
            break
        if record.segment == 0 and record.track_id in missing:
            panels[record.track_id] = _panel(dataset, record)
            missing.remove(record.track_id)
    return [panels[track_id] for track_id in track_ids if track_id in panels]


def augmented_samples(
    dataset: Dataset, *, parts: Sequence[str], count: int, augmentation: Augmentation
) -> list[Spectrogram]:
    """Return patches from the middle of up to `count` tracks, each followed by VERSIONS augmented ones.

    All are normalised by the statistics of the parts, as in training; the tracks are one batch.

    Raises:
      ShardError: a shard cannot be read, is torn or corrupt.
      UserError: there is no such part, or a mask could be wider than a patch.
    """
    records = _first_tracks(dataset, parts, count, min_frames=_PATCH_FRAMES)
    if not records:
        return []
    manifest = dataset.manifest
    statistics = manifest.statistics(parts)
    middles = []
    for record in records:
        start = (len(record.log_mel) - _PATCH_FRAMES) // 2
        middles.append(record.log_mel[start : start + _PATCH_FRAMES])
    patches = ((np.stack(middles) - statistics.mean) / statistics.scale).astype(np.float32)
    labels = np.array([record.label for record in records], np.int32)

    command_line.import_tensorflow()
    import tensorflow as tf

    from tfrecords.augment import Augmenter, augmented

    augmenter = Augmenter(
        augmentation, num_classes=len(manifest.labels), front_end=manifest.front_end, statistics=statistics
    )
    batch = tf.data.Dataset.from_tensors((patches[..., np.newaxis], labels)).repeat(VERSIONS)
    versions = list(augmented(batch, augmenter).as_numpy_iterator())
    panels = []
    for row, record in enumerate(records):
        panels.append((patches[row], _title(dataset, record)))
        for number, (version, version_labels) in enumerate(versions, start=1):
            soft = augmentation.soft_labels
            title = _describe_shares(manifest.labels, version_labels[row]) if soft else f"version {number}"
            panels.append((version[row, :, :, 0], title))
    return [Spectrogram(log_mel, title, manifest.frames_per_s) for log_mel, title in panels]


def _first_tracks(dataset: Dataset, parts: Sequence[str], count: int, *, min_frames: int = 1) -> list[Record]:
    """Return the first records of up to `count` tracks, labels in turn, leaving out those of fewer than min_frames."""
    labels = range(len(dataset.manifest.labels))
    rounds = -(-count // len(labels))
    first: dict[int, list[Record]] = {label: [] for label in labels}
    for record in _records(dataset, parts):
        if record.segment == 0 and len(record.log_mel) >= min_frames and len(first[record.label]) < rounds:
            first[record.label].append(record)
        if all(len(records) == rounds for records in first.values()):
            break
    turns = itertools.chain.from_iterable(itertools.zip_longest(*first.values()))
    return [record for record in turns if record is not None][:count]


def _records(dataset: Dataset, parts: Sequence[str]) -> Iterator[Record]:
    return itertools.chain.from_iterable(map(dataset.records, dataset.manifest.select(parts)))


def _panel(dataset: Dataset, record: Record) -> Spectrogram:
    frames_per_s = dataset.manifest.frames_per_s
    log_mel = record.log_mel[: int(_SHOWN_S * frames_per_s)].astype(np.float32)
    return Spectrogram(log_mel, _title(dataset, record), frames_per_s)


def _title(dataset: Dataset, record: Record) -> str:
    return f"{dataset.manifest.labels[record.label]}: {Path(record.track_id).name}"


def _describe_shares(labels: Sequence[str], shares: np.ndarray) -> str:
    """Return the labels of a mixed patch, largest share first: "72 % blues + 28 % jazz", or "blues"."""
    percents = np.rint(100 * shares).astype(int)
    order = [index for index in np.argsort(-percents, kind="stable") if percents[index]]
    if len(order) == 1:
        return labels[order[0]]
    return " + ".join(f"{percents[index]} % {labels[index]}" for index in order)
