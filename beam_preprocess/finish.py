"""The last stage: the results of all shards become rejects.jsonl, metrics.json, the two files by which
tensorflow_datasets opens the dataset and, last of all, manifest.json.
"""

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.config import JobConfig
from beam_preprocess.label_sound import merged
from beam_preprocess.output_error import writing_to
from beam_preprocess.plan import Plan, versions
from beam_preprocess.write_shard import Rejected, ShardResult
from tfrecords import manifest, tfds
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics, Manifest, Part
from tfrecords.schema import to_bytes, to_text

REJECTS_FILE = "rejects.jsonl"
METRICS_FILE = "metrics.json"


class TooManyRejectsError(UserError):
    """More of the inputs cannot be used than is allowed."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What the launcher knows of the dataset before any shard is written; small, whatever the number of tracks.

    Attributes:
      config: the job.
      labels: label names.
      parts: part names, in order.
      split: how tracks were dealt into parts.
      num_shards: over all parts.
      num_tracks: over all shards.
      fingerprint: of the whole.
    """

    config: JobConfig
    labels: tuple[str, ...]
    parts: tuple[str, ...]
    split: dict[str, Any]
    num_shards: int
    num_tracks: int
    fingerprint: str

    @classmethod
    def of(cls, config: JobConfig, plan: Plan) -> "Dataset":
        """The dataset of a plan."""
        return cls(
            config, plan.labels, plan.parts, dict(plan.split), len(plan.shards), plan.num_tracks, plan.fingerprint
        )


class WriteManifest(beam.DoFn):
    """list[ShardResult] -> the manifest's path, after everything else is in place.

    Of single tracks the worker that does this holds the rejects, and those that are there more than once, no others.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def process(
        self, results: Sequence[ShardResult], rejects: Iterable[Rejected], duplicates: Iterable[tuple[bytes, ...]]
    ) -> list[bytes]:
        """Writes these files, and removes what only an unfinished job needs; gives the manifest's path, as bytes.

        Args:
          results: of all shards; their own rejects and contents are not looked at.
          rejects: of all shards.
          duplicates: track_ids of each recording that is there more than once, as records have them.

        Raises:
          UserError: shards or tracks are lost, or too many tracks are rejected.
          OutputError: a file cannot be written.
        """
        with writing_to(self._dataset.config.output):
            return [to_bytes(self._finish(results, rejects, duplicates))]

    def _finish(
        self, results: Sequence[ShardResult], rejects: Iterable[Rejected], duplicates: Iterable[tuple[bytes, ...]]
    ) -> str:
        dataset, output = self._dataset, self._dataset.config.output
        if len(results) != dataset.num_shards:
            # An engine may do this again after it was done: the plan is gone then, and the dataset complete.
            if not _is_complete(dataset):
                raise UserError(
                    f"{output}: {len(results)} of {dataset.num_shards} shards were planned and written; "
                    "every worker has to reach this directory under this name"
                )
            return FileSystems.join(output, manifest.FILE_NAME)
        results = sorted(results, key=lambda result: result.shard.file)
        reasons = _write_rejects(output, rejects)
        tracks = sum(sum(result.tracks.values()) for result in results)
        if tracks + reasons.total() != dataset.num_tracks:
            raise UserError(
                f"{output}: {tracks} tracks and {reasons.total()} rejects came out where {dataset.num_tracks} tracks "
                "went in: the engine lost some; run the command again, it keeps what is done"
            )
        check_rejects(dataset.config, reasons, dataset.num_tracks)
        metrics = make_metrics(dataset, results, reasons)
        storage.write_text(output, METRICS_FILE, json.dumps(metrics, indent=1) + "\n")
        made = make_manifest(dataset, results, reasons, duplicates)
        for name, text in tfds.to_json(made).items():
            storage.write_text(output, name, text)
        storage.write_text(output, manifest.FILE_NAME, made.to_json())
        # What is left of it, where another attempt at a shard is still at work, is no reason to fail.
        with contextlib.suppress(OSError):
            storage.delete([storage.partial_dir(output)])
        return FileSystems.join(output, manifest.FILE_NAME)


def _is_complete(dataset: Dataset) -> bool:
    text = storage.read_text(FileSystems.join(dataset.config.output, manifest.FILE_NAME))
    return text is not None and Manifest.from_json(text, dataset.config.output).fingerprint == dataset.fingerprint


def _write_rejects(output: str, rejects: Iterable[Rejected]) -> Counter[str]:
    """Writes a line for each, sorted by track_id; gives their number by reason."""
    reasons: Counter[str] = Counter()
    with storage.replacing(output, REJECTS_FILE) as file:
        for reject in sorted(rejects, key=lambda reject: reject.track_id):
            reasons[reject.reason] += 1
            file.write(f"{reject.to_json()}\n".encode("ascii"))
    return reasons


def check_rejects(config: JobConfig, reasons: Counter[str], total: int) -> None:
    """Raises TooManyRejectsError when too many of the inputs could not be used."""
    rejects = reasons.total()
    if rejects <= config.max_reject_fraction * total and rejects < total:
        return
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    where = FileSystems.join(config.output, REJECTS_FILE)
    advice = "none is left" if rejects == total else f"--max_reject_fraction is {config.max_reject_fraction:g}"
    raise TooManyRejectsError(f"{rejects} of {total} tracks cannot be used ({listed}) and {advice}; {where} names each")


def make_metrics(dataset: Dataset, results: Sequence[ShardResult], reasons: Counter[str]) -> dict[str, Any]:
    """What metrics.json holds: counts, what each label sounds like, and the workers' seconds, which vary by run."""
    work_s: Counter[str] = Counter()
    for result in results:
        work_s.update(result.work_s)
    return {
        "input": dataset.config.source,
        "tracks": sum(sum(result.tracks.values()) for result in results),
        "rejects": dict(sorted(reasons.items())),
        "audio_s": round(sum(result.audio_s for result in results), 3),
        "bytes": sum(result.shard.bytes for result in results),
        "shards": len(results),
        "sound": {label: sound.to_json() for label, sound in merged(result.sound for result in results).items()},
        "work_s": {activity: round(seconds, 3) for activity, seconds in sorted(work_s.items())},
    }


def make_manifest(
    dataset: Dataset, results: Sequence[ShardResult], reasons: Counter[str], duplicates: Iterable[tuple[bytes, ...]]
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
    return Manifest(
        name=dataset.config.name,
        labels=dataset.labels,
        front_end=dataclasses.asdict(dataset.config.front_end),
        dtype=dataset.config.dtype,
        parts=parts,
        split=dataset.split,
        rejects=dict(sorted(reasons.items())),
        duplicates=tuple(sorted(tuple(map(to_text, same)) for same in duplicates)),
        fingerprint=dataset.fingerprint,
        versions=versions(),
    )
