"""The end of the preprocessing job: the results of all shards become the files that make a directory a dataset.

These are rejects.jsonl, metrics.json, the two files that tensorflow_datasets needs and, last of all, manifest.json.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from beam_preprocess import label_sound, storage
from beam_preprocess.config import JobConfig
from beam_preprocess.finish import FinishJob
from beam_preprocess.plan import Plan, versions
from beam_preprocess.write_shard import ShardResult
from tfrecords import manifest, tfds
from tfrecords.manifest import BandStatistics, Manifest, Part
from tfrecords.schema import to_text


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """What is known of a dataset before its first shard is written; small, whatever the number of tracks.

    Attributes:
      config: the job.
      labels: label names.
      parts: part names, in order.
      split: how the tracks were split into parts.
      num_shards: over all parts.
      num_tracks: over all shards.
      fingerprint: of the plan.
    """

    config: JobConfig
    labels: tuple[str, ...]
    parts: tuple[str, ...]
    split: dict[str, Any]
    num_shards: int
    num_tracks: int
    fingerprint: str

    @classmethod
    def from_plan(cls, config: JobConfig, plan: Plan) -> "DatasetSpec":
        """Return the spec of a planned dataset."""
        return cls(
            config, plan.labels, plan.parts, dict(plan.split), len(plan.shards), plan.num_tracks, plan.fingerprint
        )


class WriteManifest(FinishJob):
    """list[ShardResult] -> the manifest's path. Of single tracks, it is also given the duplicates."""

    def __init__(self, spec: DatasetSpec) -> None:
        super().__init__(spec, manifest.FILE_NAME)
        self._spec = spec

    def fingerprint_in(self, text: str) -> str:
        """Return the plan's fingerprint from a manifest."""
        return Manifest.from_json(text, self._spec.config.output).fingerprint

    def more_metrics(self, results: Sequence[ShardResult]) -> dict[str, Any]:
        """Return the sound of each label."""
        sounds = label_sound.merged(result.sound for result in results)
        return {"sound": {label: sound.to_json() for label, sound in sounds.items()}}

    def write(self, results: Sequence[ShardResult], reasons: Counter[str], *more: Iterable[tuple[bytes, ...]]) -> str:
        """Write what tensorflow_datasets needs; return the manifest.

        Args:
          results: of all shards, in the order of their names.
          reasons: rejects by reason.
          more: the track_ids of each recording that occurs more than once, as bytes.
        """
        (duplicates,) = more
        made = make_manifest(self._spec, results, reasons, duplicates)
        for name, text in tfds.to_json(made).items():
            storage.write_text(self._spec.config.output, name, text)
        return made.to_json()


def make_manifest(
    spec: DatasetSpec, results: Sequence[ShardResult], reasons: Counter[str], duplicates: Iterable[tuple[bytes, ...]]
) -> Manifest:
    """Return the manifest of a dataset, from the results of all its shards in the order of their file names."""
    parts = {}
    for name in spec.parts:
        part_results = [result for result in results if result.part == name]
        tracks: Counter[str] = Counter(dict.fromkeys(spec.labels, 0))
        record_frames: Counter[int] = Counter()
        for result in part_results:
            tracks.update(result.tracks)
            record_frames.update(result.record_frames)
        statistics = BandStatistics.merged((result.statistics for result in part_results), spec.config.front_end.n_mels)
        parts[name] = Part(tuple(result.shard for result in part_results), dict(tracks), record_frames, statistics)
    return Manifest(
        name=spec.config.name,
        labels=spec.labels,
        front_end=dataclasses.asdict(spec.config.front_end),
        dtype=spec.config.record_dtype,
        parts=parts,
        split=spec.split,
        rejects=dict(sorted(reasons.items())),
        duplicates=tuple(sorted(tuple(map(to_text, same)) for same in duplicates)),
        fingerprint=spec.fingerprint,
        versions=versions(),
    )
