"""The last stage: the results of all shards become rejects.jsonl, metrics.json and, last of all, manifest.json."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.config import JobConfig
from beam_preprocess.plan import Plan
from beam_preprocess.result import ShardResult
from beam_preprocess.versions import versions
from tfrecords import manifest
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest, Part
from tfrecords.statistics import BandStatistics

REJECTS_FILE = "rejects.jsonl"
METRICS_FILE = "metrics.json"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What the launcher knows of the dataset before any shard is written; small, whatever the number of tracks.

    Attributes:
      config: the job.
      labels: label names.
      parts: part names, in order.
      split: how tracks were dealt into parts.
      fingerprint: of the whole.
    """

    config: JobConfig
    labels: tuple[str, ...]
    parts: tuple[str, ...]
    split: dict[str, Any]
    fingerprint: str

    @classmethod
    def of(cls, config: JobConfig, plan: Plan) -> "Dataset":
        """The dataset of a plan."""
        return cls(config, plan.labels, plan.parts, dict(plan.split), plan.fingerprint)


class WriteManifest(beam.DoFn):
    """list[ShardResult] -> the manifest's path, after everything else is in place."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def process(self, results: Sequence[ShardResult], duplicates: Iterable[tuple[str, ...]]) -> list[str]:
        """Writes the three files, and removes what only an unfinished job needs.

        Args:
          results: of all shards.
          duplicates: track_ids of each recording that is there more than once.
        """
        dataset, output = self._dataset, self._dataset.config.output
        results = sorted(results, key=lambda result: result.shard.file)
        rejects = sorted((reject for result in results for reject in result.rejects), key=lambda item: item.track_id)
        storage.write_text(output, REJECTS_FILE, "".join(f"{reject.to_json()}\n" for reject in rejects))
        tracks = sum(sum(result.tracks.values()) for result in results)
        check_rejects(dataset.config, Counter(reject.reason for reject in rejects), tracks + len(rejects))
        storage.write_text(output, METRICS_FILE, json.dumps(make_metrics(dataset, results), indent=1) + "\n")
        storage.write_text(output, manifest.FILE_NAME, make_manifest(dataset, results, duplicates).to_json())
        storage.delete([storage.partial_dir(output)])
        return [FileSystems.join(output, manifest.FILE_NAME)]


def check_rejects(config: JobConfig, reasons: Counter[str], total: int) -> None:
    """Raises UserError when too many of the inputs could not be used."""
    rejects = reasons.total()
    if rejects <= config.max_reject_fraction * total and rejects < total:
        return
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    where = FileSystems.join(config.output, REJECTS_FILE)
    advice = "none is left" if rejects == total else f"--max_reject_fraction is {config.max_reject_fraction:g}"
    raise UserError(f"{rejects} of {total} tracks cannot be used ({listed}) and {advice}; {where} names each")


def make_metrics(dataset: Dataset, results: Sequence[ShardResult]) -> dict[str, Any]:
    """What metrics.json holds: counts, and the workers' seconds by activity; these vary from run to run."""
    work_s: Counter[str] = Counter()
    for result in results:
        work_s.update(result.work_s)
    return {
        "input": dataset.config.source,
        "tracks": sum(sum(result.tracks.values()) for result in results),
        "rejects": dict(sorted(Counter(reject.reason for result in results for reject in result.rejects).items())),
        "audio_s": round(sum(result.audio_s for result in results), 3),
        "bytes": sum(result.shard.bytes for result in results),
        "shards": len(results),
        "work_s": {activity: round(seconds, 3) for activity, seconds in sorted(work_s.items())},
    }


def make_manifest(
    dataset: Dataset, results: Sequence[ShardResult], duplicates: Iterable[tuple[str, ...]] = ()
) -> Manifest:
    """The manifest of a dataset from the results of all its shards, sorted by file name."""
    parts = {}
    for name in dataset.parts:
        own = [result for result in results if result.part == name]
        tracks: Counter[str] = Counter(dict.fromkeys(dataset.labels, 0))
        record_frames: Counter[int] = Counter()
        for result in own:
            tracks.update(result.tracks)
            record_frames.update(result.record_frames)
        statistics = BandStatistics.merged((result.statistics for result in own), dataset.config.front_end.n_mels)
        parts[name] = Part(tuple(result.shard for result in own), dict(tracks), record_frames, statistics)
    reasons = Counter(reject.reason for result in results for reject in result.rejects)
    return Manifest(
        name=dataset.config.name,
        labels=dataset.labels,
        front_end=dataclasses.asdict(dataset.config.front_end),
        dtype=dataset.config.dtype,
        parts=parts,
        split=dataset.split,
        rejects=dict(sorted(reasons.items())),
        duplicates=tuple(sorted(duplicates)),
        fingerprint=dataset.fingerprint,
        versions=versions(),
    )
