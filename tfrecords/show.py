"""Pictures of a dataset: spectrograms with their labels, or patches and what augmentation makes of them."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfrecords.augmentation import Augmentation
from tfrecords.common import command_line
from tfrecords.manifest import Manifest
from tfrecords.plots import Spectrogram
from tfrecords.records import iterate
from tfrecords.schema import Record

# Enough to see rhythm and timbre; a whole recording would be a smear.
_SHOWN_S = 10.0
# What models see unless told: the patch of the paper.
_PATCH_FRAMES = 80
VERSIONS = 4


def samples(manifest: Manifest, data_dir: str | Path, *, parts: Sequence[str], count: int) -> list[Spectrogram]:
    """Up to `count` spectrograms with their labels in turn, the first tracks of the parts in order.

    Raises:
      ShardError: a shard is torn or corrupt.
    """
    frames = int(_SHOWN_S * manifest.frames_per_s)
    return [
        Spectrogram(record.log_mel[:frames].astype(np.float32), _title(manifest, record), manifest.frames_per_s)
        for record in _first_tracks(manifest, data_dir, parts, count)
    ]


def spectrograms_of(manifest: Manifest, data_dir: str | Path, track_ids: Sequence[str]) -> list[Spectrogram]:
    """Spectrograms of the tracks named, with their labels, in the order given; a track that is not there is left out.

    Raises:
      ShardError: a shard is torn or corrupt.
    """
    frames, wanted = int(_SHOWN_S * manifest.frames_per_s), set(track_ids)
    found: dict[str, Spectrogram] = {}
    for record in _records(manifest, data_dir, ["all"]):
        if len(found) == len(wanted):
            break
        if record.segment == 0 and record.track_id in wanted:
            log_mel = record.log_mel[:frames].astype(np.float32)
            found[record.track_id] = Spectrogram(log_mel, _title(manifest, record), manifest.frames_per_s)
    return [found[track_id] for track_id in track_ids if track_id in found]


def augmented_samples(
    manifest: Manifest, data_dir: str | Path, *, parts: Sequence[str], count: int, augmentation: Augmentation
) -> list[Spectrogram]:
    """Patches from the middle of up to `count` tracks, each followed by VERSIONS that augmentation makes of it.

    All are normalised by the statistics of the parts, as training would have them; the tracks are one batch.

    Raises:
      ShardError: a shard is torn or corrupt.
      UserError: a mask could be wider than a patch.
    """
    records = _first_tracks(manifest, data_dir, parts, count, at_least=_PATCH_FRAMES)
    if not records:
        return []
    starts = [(len(record.log_mel) - _PATCH_FRAMES) // 2 for record in records]
    statistics = manifest.statistics(parts)
    patches = np.stack(
        [record.log_mel[start : start + _PATCH_FRAMES] for record, start in zip(records, starts, strict=True)]
    )
    patches = ((patches - statistics.mean) / statistics.scale).astype(np.float32)
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
        panels.append((patches[row], _title(manifest, record)))
        for number, (varied, varied_labels) in enumerate(versions, start=1):
            soft = augmentation.soft_labels
            title = _shares(manifest.labels, varied_labels[row]) if soft else f"version {number}"
            panels.append((varied[row, :, :, 0], title))
    return [Spectrogram(log_mel, title, manifest.frames_per_s) for log_mel, title in panels]


def _first_tracks(
    manifest: Manifest, data_dir: str | Path, parts: Sequence[str], count: int, *, at_least: int = 1
) -> list[Record]:
    """The starts of up to `count` tracks, labels in turn, without records of fewer frames than `at_least`."""
    rounds = -(-count // len(manifest.labels))
    first: dict[int, list[Record]] = {label: [] for label in range(len(manifest.labels))}
    for record in _records(manifest, data_dir, parts):
        if record.segment == 0 and len(record.log_mel) >= at_least and len(first[record.label]) < rounds:
            first[record.label].append(record)
        if all(len(records) == rounds for records in first.values()):
            break
    turns = itertools.chain.from_iterable(itertools.zip_longest(*first.values()))
    return [record for record in turns if record is not None][:count]


def _title(manifest: Manifest, record: Record) -> str:
    return f"{manifest.labels[record.label]}: {Path(record.track_id).name}"


def _shares(labels: Sequence[str], shares: np.ndarray) -> str:
    """The labels of a mixed patch, the greatest first: "72 % blues + 28 % jazz", or "blues"."""
    percents = np.rint(100 * shares).astype(int)
    order = [index for index in np.argsort(-percents, kind="stable") if percents[index]]
    if len(order) == 1:
        return labels[order[0]]
    return " + ".join(f"{percents[index]} % {labels[index]}" for index in order)


def _records(manifest: Manifest, data_dir: str | Path, parts: Sequence[str]) -> Iterator[Record]:
    return itertools.chain.from_iterable(iterate(manifest, data_dir, part) for part in manifest.select(parts))
