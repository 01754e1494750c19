"""The last stage of the job: the results of all shards become the files that make a directory a dataset.

These are rejects.jsonl, metrics.json, the two files that tensorflow_datasets needs and, last of all, manifest.json.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam

from beam_preprocess import label_sound, storage
from beam_preprocess.config import JobConfig
from beam_preprocess.plan import Plan, versions
from beam_preprocess.storage import writing_to
from beam_preprocess.write_shard import Rejected, ShardResult, place_shard
from tfrecords import manifest, tfds
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics, Manifest, Part
from tfrecords.schema import to_bytes, to_text

REJECTS_FILE = "rejects.jsonl"
METRICS_FILE = "metrics.json"
_PLACED_AT_ONCE = 16


class TooManyRejectsError(UserError):
    """More of the inputs cannot be used than the job allows."""


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


class WriteManifest(beam.DoFn):
    """list[ShardResult] -> the manifest's path, written after everything else is in place, shards included.

    Of single tracks, its worker holds only the rejects and the duplicates in memory.
    """

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec

    def process(
        self, results: Sequence[ShardResult], rejects: Iterable[Rejected], duplicates: Iterable[tuple[bytes, ...]]
    ) -> list[bytes]:
        """Write the dataset's files and remove those that only an unfinished job needs.

        Args:
          results: of all shards; their rejects and contents are not read.
          rejects: of all shards.
          duplicates: the track_ids of each recording that occurs more than once, as bytes.

        Returns:
          The manifest's path, as bytes.

        Raises:
          UserError: shards or tracks were lost, or too many tracks were rejected.
          OutputError: a file cannot be written.
        """
        output = self._spec.config.output
        path = storage.join(output, manifest.FILE_NAME)
        with writing_to(output):
            if len(results) == self._spec.num_shards:
                _write_dataset(self._spec, results, rejects, duplicates)
            elif not _is_complete(self._spec):
                raise UserError(
                    f"{output}: only {len(results)} of {self._spec.num_shards} planned shards were written; "
                    "every worker has to reach this directory under this name"
                )
            # Else an engine repeats this stage: the plan is gone, and the dataset complete.
        return [to_bytes(path)]


def _is_complete(spec: DatasetSpec) -> bool:
    text = storage.read_text(storage.join(spec.config.output, manifest.FILE_NAME))
    return text is not None and Manifest.from_json(text, spec.config.output).fingerprint == spec.fingerprint


def _write_dataset(
    spec: DatasetSpec,
    results: Sequence[ShardResult],
    rejects: Iterable[Rejected],
    duplicates: Iterable[tuple[bytes, ...]],
) -> None:
    output = spec.config.output
    results = sorted(results, key=lambda result: result.shard.file)
    reasons = _write_rejects(output, rejects)
    tracks = sum(sum(result.tracks.values()) for result in results)
    if tracks + reasons.total() != spec.num_tracks:
        raise UserError(
            f"{output}: {tracks} tracks and {reasons.total()} rejects came out where {spec.num_tracks} tracks "
            "went in: the engine lost some; run the command again, it keeps what is done"
        )
    check_rejects(spec.config, reasons, spec.num_tracks)
    # Several at a time, as a store copies them.
    with concurrent.futures.ThreadPoolExecutor(_PLACED_AT_ONCE) as pool:
        for _ in pool.map(lambda result: place_shard(output, result.shard), results):
            pass
    storage.write_text(output, METRICS_FILE, json.dumps(make_metrics(spec, results, reasons), indent=1) + "\n")
    dataset_manifest = make_manifest(spec, results, reasons, duplicates)
    for name, text in tfds.to_json(dataset_manifest).items():
        storage.write_text(output, name, text)
    storage.write_text(output, manifest.FILE_NAME, dataset_manifest.to_json())
    # Another attempt at a shard may still be writing there, which is no reason to fail.
    with contextlib.suppress(OSError):
        storage.delete_tree(storage.partial_dir(output))


def _write_rejects(output: str, rejects: Iterable[Rejected]) -> Counter[str]:
    """Write a line for each reject, sorted by track_id; return the number of rejects by reason."""
    reasons: Counter[str] = Counter()
    with storage.replacing(output, REJECTS_FILE) as file:
        for reject in sorted(rejects, key=lambda reject: reject.track_id):
            reasons[reject.reason] += 1
            file.write(f"{reject.to_json()}\n".encode("ascii"))
    return reasons


def check_rejects(config: JobConfig, reasons: Counter[str], total: int) -> None:
    """Check that enough of the inputs can be used.

    Args:
      config: the job.
      reasons: rejects by reason.
      total: number of tracks, rejects included.

    Raises:
      TooManyRejectsError: more than max_reject_fraction of the tracks are rejected, or all of them.
    """
    rejects = reasons.total()
    if rejects <= config.max_reject_fraction * total and rejects < total:
        return
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    rule = "none is left" if rejects == total else f"max_reject_fraction is {config.max_reject_fraction:g}"
    path = storage.join(config.output, REJECTS_FILE)
    raise TooManyRejectsError(f"{rejects} of {total} tracks cannot be used ({counts}) and {rule}; {path} names each")


def make_metrics(spec: DatasetSpec, results: Sequence[ShardResult], reasons: Counter[str]) -> dict[str, Any]:
    """Return the content of metrics.json: counts, the sound of each label, and the workers' seconds by activity."""
    work_s: Counter[str] = Counter()
    for result in results:
        work_s.update(result.work_s)
    sounds = label_sound.merged(result.sound for result in results)
    return {
        "input": spec.config.source,
        "tracks": sum(sum(result.tracks.values()) for result in results),
        "rejects": dict(sorted(reasons.items())),
        "audio_s": round(sum(result.audio_s for result in results), 3),
        "bytes": sum(result.shard.bytes for result in results),
        "shards": len(results),
        "sound": {label: sound.to_json() for label, sound in sounds.items()},
        "work_s": {activity: round(seconds, 3) for activity, seconds in sorted(work_s.items())},
    }


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
