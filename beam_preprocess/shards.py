"""Tracks -> shards of something, on any engine: what the workers of every job here do alike.

The preprocessing job makes shards of records, the audit of fingerprints, beam_predict of predictions. Each says in a
subclass of `MakeShard` what it writes of a shard's tracks and what it reports of it; how attempts are kept apart, kept
from an interrupted run and chosen among is here. `launch` begins a job, `finish` ends it.
"""

import ctypes
import dataclasses
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Protocol, Self, TypeVar

import apache_beam as beam
import numpy as np
import threadpoolctl
from apache_beam.metrics import Metrics

from beam_preprocess import storage
from beam_preprocess.audio import Reject, stream
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.plan import ShardPlan
from beam_preprocess.storage import writing_to
from tfrecords.common.command_line import UserError
from tfrecords.manifest import PARTIAL_DIR

# Of Beam's metrics.
NAMESPACE = "beam_preprocess"
# Tags of the outputs of MakeShard.
RESULTS = "results"
REJECTS = "rejects"
# Digits of a checksum at the end of a file's name.
_SUFFIX_DIGITS = 32
# From glibc's malloc.h: how much free memory a thread keeps, and the size from which memory is mapped on its own.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Blocks of audio and the arrays computed from them are up to 4.2 MB each, a few at a time.
_KEPT_BYTES, _LARGE_BYTES = 16 << 20, 8 << 20

_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """One line of rejects.jsonl.

    Attributes:
      track_id: of the input that cannot be used.
      uri: where the file is.
      reason: one of beam_preprocess.audio.REASONS.
      detail: what is wrong with it.
    """

    track_id: str
    uri: str
    reason: str
    detail: str

    @classmethod
    def of(cls, track: Track, reject: Reject) -> Self:
        """Return the line of a track."""
        return cls(track.track_id, track.origin or track.uri, reject.reason, reject.detail)

    def to_json(self) -> str:
        """Return one line of ASCII."""
        return json.dumps(dataclasses.asdict(self))


class FileFacts(Protocol):
    """What identifies the file of a shard; `tfrecords.manifest.Shard` is one."""

    @property
    def file(self) -> str:
        """Its name in the output."""

    @property
    def bytes(self) -> int:
        """Its size."""

    @property
    def sha256(self) -> str:
        """Its checksum, in hexadecimal digits."""


@dataclasses.dataclass(frozen=True)
class ShardFile:
    """The file of a shard.

    Attributes:
      file: its name in the output.
      rows: entries in it.
      bytes: its size.
      sha256: its checksum, in hexadecimal digits.
    """

    file: str
    rows: int
    bytes: int
    sha256: str


class Result(Protocol):
    """What a worker reports of a shard; until the job ends, it is kept in a file beside the shard (see `sidecar`)."""

    @property
    def fingerprint(self) -> str:
        """Of the shard's plan."""

    @property
    def shard(self) -> FileFacts:
        """The file."""

    @property
    def rejects(self) -> tuple[Rejected, ...]:
        """Inputs that cannot be used."""

    @property
    def num_tracks(self) -> int:
        """Number of the others."""

    @property
    def audio_s(self) -> float:
        """Seconds of audio of these."""

    @property
    def work_s(self) -> Mapping[str, float]:
        """Activity -> seconds of the worker's time."""

    def to_json(self) -> str:
        """Return one line of ASCII."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the result that `to_json` wrote; raise ValueError for another text."""


class MakeShard(beam.DoFn):
    """ShardPlan as JSON -> the shard's result, after its file is complete in the directory of unfinished work.

    The shard is the unit of retry. An engine that lost sight of a worker has two attempts at one shard at a time, and
    those may differ, where one of them could not read a file: each has a file named by its content, and the job's last
    stage chooses the file of the attempt whose result it was given (`place_shard`). A shard that an earlier,
    interrupted run finished is kept.

    All results meet on one worker, so what grows with the tracks has outputs of its own.

    Args:
      output: of the job.
      result_type: of the results.
    """

    def __init__(self, output: str, result_type: type[Result]) -> None:
        self._output = output
        self._result_type = result_type

    def setup(self) -> None:
        """Prepare the worker's process."""
        self._limits = prepare_worker()

    def process(self, line: str) -> Iterator[Any]:
        """Write one shard, unless it is there already, and yield what `report` gives.

        Raises:
          OutputError: the output or the temporary directory cannot be written.
        """
        plan = ShardPlan.from_json(line)
        with writing_to(self._output):
            result = finished_result(self._output, plan, self._result_type)
            if result is None:
                result = self._attempt(plan)
                storage.write_text(self._output, sidecar(plan.file), result.to_json())
        _count(result)
        yield from self.report(plan, result)

    def _attempt(self, plan: ShardPlan) -> Result:
        name = f"{PARTIAL_DIR}/{plan.file}"
        with storage.replacing(self._output, name, suffix=lambda: _attempt_suffix(result.shard.sha256)) as file:
            result = self.write(plan, file)
        return result

    def write(self, plan: ShardPlan, file: IO[bytes]) -> Result:
        """Write the content of a shard to its open file; return what is to be known of it."""
        raise NotImplementedError

    def report(self, plan: ShardPlan, result: Any) -> Iterator[Any]:
        """Yield each Rejected, tagged REJECTS, then the result without them."""
        for reject in result.rejects:
            yield beam.pvalue.TaggedOutput(REJECTS, reject)
        yield dataclasses.replace(result, rejects=())


def read_track(track: Track, **options: Any) -> Iterator[np.ndarray]:
    """Yield a track's waveform in blocks of [samples] float32; options and errors are those of `audio.stream`.

    Raises:
      Reject: the file cannot be opened, or as `audio.stream`.
    """
    try:
        file = storage.open_file(track.uri)
    except OSError as error:
        raise Reject("unreadable", getattr(error, "strerror", None) or str(error)) from error
    with file:
        yield from stream(file, name=track.track_id, **options)


def sidecar(file: str) -> str:
    """Return the path, below the output, of the file that keeps a shard's result until the dataset is finished."""
    return f"{PARTIAL_DIR}/{file}.json"


def finished_result(output: str, plan: ShardPlan, result_type: type[Result]) -> Any:
    """Return the result of a shard that an earlier run finished by the same plan, if its file is still whole.

    A shard that lacks unreadable files is written again: they may be readable by now.
    """
    result = read_result(output, plan, result_type)
    if result is None or any(reject.reason == "unreadable" for reject in result.rejects):
        return None
    if storage.size_of(attempt_file(output, result.shard)) == result.shard.bytes or _is_placed(output, result.shard):
        return result
    return None


def read_result(output: str, plan: ShardPlan, result_type: type[Result]) -> Any:
    """Return the result that is kept beside a shard of this plan; None if there is none."""
    text = storage.read_text(storage.join(output, sidecar(plan.file)))
    try:
        result = result_type.from_json(text or "")
    except ValueError:
        return None
    return result if result.fingerprint == plan.fingerprint else None


def attempt_file(output: str, shard: FileFacts) -> str:
    """Return where an attempt at a shard is, named by its content, until the last stage chooses it."""
    return storage.join(output, PARTIAL_DIR, shard.file + _attempt_suffix(shard.sha256))


def _attempt_suffix(sha256: str) -> str:
    return f".{sha256[:_SUFFIX_DIGITS]}"


def place_shard(output: str, shard: FileFacts) -> None:
    """Give the file of one attempt at a shard its final name.

    Raises:
      OSError: it cannot be moved.
      UserError: it is gone.
    """
    try:
        storage.move(attempt_file(output, shard), storage.join(output, shard.file))
    except FileNotFoundError:
        # An earlier attempt at the last stage has placed it.
        if not _is_placed(output, shard):
            raise UserError(f"{output}: the file of the shard {shard.file} is gone; run the command again") from None


def _is_placed(output: str, shard: FileFacts) -> bool:
    """Return whether a shard's final file is there and has its content, which is read for that."""
    uri = storage.join(output, shard.file)
    if storage.size_of(uri) != shard.bytes:
        return False
    with storage.open_file(uri) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256


def _count(result: Result) -> None:
    """Update Beam's metrics, which engines show while a job runs."""
    Metrics.counter(NAMESPACE, "tracks").inc(result.num_tracks)
    Metrics.counter(NAMESPACE, "audio_s").inc(round(result.audio_s))
    for reject in result.rejects:
        Metrics.counter(NAMESPACE, f"rejected_{reject.reason}").inc()
    for activity, seconds in result.work_s.items():
        Metrics.distribution(NAMESPACE, f"{activity}_ms_per_shard").update(round(1000 * seconds))


class Stopwatch:
    """Adds up seconds by activity; the time of an activity inside another one counts for the inner one only."""

    def __init__(self, activity: str) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._activity = activity
        self._since = time.perf_counter()

    def iterate(self, activity: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the items, and count the time that it takes to produce them as an activity."""
        iterator = iter(items)
        while True:
            outer = self._switch(activity)
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._switch(outer)
            yield item

    def stop(self) -> dict[str, float]:
        """Return activity -> seconds until now."""
        self._switch(self._activity)
        return dict(self._seconds)

    def _switch(self, activity: str) -> str:
        before, now = self._activity, time.perf_counter()
        self._seconds[before] += now - self._since
        self._activity, self._since = activity, now
        return before


def prepare_worker() -> threadpoolctl.threadpool_limits:
    """Limit BLAS to one thread, and keep the memory of one block for the next, until the process ends.

    Each core has a worker already, so more BLAS threads only get in its way. And memory that is returned to the system
    after each block comes back page by page, which takes half as long as all the computing (glibc; others are left as
    they are).

    Returns:
      The limit on BLAS threads, which holds while it is referenced.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    return threadpoolctl.threadpool_limits(1, user_api="blas")
