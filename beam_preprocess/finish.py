"""The last stage of every job: nothing is missing, the shards get their names, and one file is written last.

That file is what makes the directory a dataset, or a collection's predictions: see the subclasses of `FinishJob`.
"""

import concurrent.futures
import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import apache_beam as beam

from beam_preprocess import storage
from beam_preprocess.config import JobConfig
from beam_preprocess.shards import Rejected, Result, place_shard
from beam_preprocess.storage import writing_to
from tfrecords.common.command_line import UserError
from tfrecords.schema import to_bytes

REJECTS_FILE = "rejects.jsonl"
METRICS_FILE = "metrics.json"
_PLACED_AT_ONCE = 16


class TooManyRejectsError(UserError):
    """More of the inputs cannot be used than the job allows."""


class JobSpec(Protocol):
    """What is known of a job before its first shard is written; small, whatever the number of tracks."""

    @property
    def config(self) -> JobConfig:
        """The job."""

    @property
    def num_shards(self) -> int:
        """Number of planned shards."""

    @property
    def num_tracks(self) -> int:
        """Over all shards."""

    @property
    def fingerprint(self) -> str:
        """Of the plan."""


class FinishJob(beam.DoFn):
    """list of results -> the path of the file that is written last, after everything else is in place.

    Of single tracks, its worker holds only the rejects in memory.

    Args:
      spec: the job.
      last_file: its name in the output.
    """

    def __init__(self, spec: JobSpec, last_file: str) -> None:
        self._job = spec
        self._last_file = last_file

    def process(self, results: Sequence[Any], rejects: Iterable[Rejected], *more: Any) -> list[bytes]:
        """Write the job's files and remove those that only an unfinished job needs.

        Args:
          results: of all shards; their rejects are not read.
          rejects: of all shards.
          more: what else `write` is given.

        Returns:
          The path of the last file, as bytes.

        Raises:
          UserError: shards or tracks were lost, or too many tracks were rejected.
          OutputError: a file cannot be written.
        """
        output = self._job.config.output
        with writing_to(output):
            if len(results) == self._job.num_shards:
                self._finish(sorted(results, key=lambda result: result.shard.file), rejects, *more)
            elif not self._is_complete():
                raise UserError(
                    f"{output}: only {len(results)} of {self._job.num_shards} planned shards were written; "
                    "every worker has to reach this directory under this name"
                )
            # Else an engine repeats this stage: the plan is gone, and the job complete.
        return [to_bytes(storage.join(output, self._last_file))]

    def _finish(self, results: Sequence[Any], rejects: Iterable[Rejected], *more: Any) -> None:
        output = self._job.config.output
        reasons = _write_rejects(output, rejects)
        tracks = sum(result.num_tracks for result in results)
        if tracks + reasons.total() != self._job.num_tracks:
            raise UserError(
                f"{output}: {tracks} tracks and {reasons.total()} rejects came out where {self._job.num_tracks} tracks "
                "went in: the engine lost some; run the command again, it keeps what is done"
            )
        check_rejects(self._job.config, reasons, self._job.num_tracks)
        # Several at a time, as a store copies them.
        with concurrent.futures.ThreadPoolExecutor(_PLACED_AT_ONCE) as pool:
            for _ in pool.map(lambda result: place_shard(output, result.shard), results):
                pass
        metrics = make_metrics(self._job, results, reasons) | self.more_metrics(results)
        storage.write_text(output, METRICS_FILE, json.dumps(metrics, indent=1) + "\n")
        storage.write_text(output, self._last_file, self.write(results, reasons, *more))
        # Another attempt at a shard may still be writing there, which is no reason to fail.
        with contextlib.suppress(OSError):
            storage.delete_tree(storage.partial_dir(output))

    def _is_complete(self) -> bool:
        text = storage.read_text(storage.join(self._job.config.output, self._last_file))
        return text is not None and self.fingerprint_in(text) == self._job.fingerprint

    def fingerprint_in(self, text: str) -> str:
        """Return the plan's fingerprint from the content of a last file."""
        raise NotImplementedError

    def more_metrics(self, results: Sequence[Any]) -> dict[str, Any]:
        """Return what metrics.json holds beside the counts and times of every job."""
        return {}

    def write(self, results: Sequence[Any], reasons: Counter[str], *more: Any) -> str:
        """Write what else belongs to the output; return the content of the last file.

        Args:
          results: of all shards, in the order of their names.
          reasons: rejects by reason.
          more: what else `process` was given.
        """
        raise NotImplementedError


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


def make_metrics(spec: JobSpec, results: Sequence[Result], reasons: Counter[str]) -> dict[str, Any]:
    """Return what metrics.json holds of every job: counts, and the workers' seconds by activity."""
    work_s: Counter[str] = Counter()
    for result in results:
        work_s.update(result.work_s)
    return {
        "input": spec.config.source,
        "tracks": sum(result.num_tracks for result in results),
        "rejects": dict(sorted(reasons.items())),
        "audio_s": round(sum(result.audio_s for result in results), 3),
        "bytes": sum(result.shard.bytes for result in results),
        "shards": len(results),
        "work_s": {activity: round(seconds, 3) for activity, seconds in sorted(work_s.items())},
    }
