"""What a worker reports of one shard: all that the manifest needs, mergeable, and kept beside an unfinished job.

Where a worker's time goes.

What a worker asks of its process before it computes, and how the workers that are processes end.

One shard from its tracks: read, decode, transform and write, one block of one clip in memory at a time.
"""

import contextlib
import ctypes
import dataclasses
import hashlib
import json
import os
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import apache_beam as beam
import numpy as np
import threadpoolctl
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from beam_preprocess import storage
from beam_preprocess.audio import Reject, stream
from beam_preprocess.audio.front_end import FrontEnd, segment_lengths
from beam_preprocess.audio.measure import TrackMeasure, TrackSound
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.label_sound import LabelSound
from beam_preprocess.output_error import writing_to
from beam_preprocess.plan import ShardPlan
from tfrecords.common import json_data
from tfrecords.manifest import PARTIAL_DIR, BandStatistics, Shard
from tfrecords.schema import DTYPES, Record, encode, to_bytes
from tfrecords.shard import RecordWriter


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """One line of rejects.jsonl.

    Attributes:
      track_id: of the input that could not be used.
      uri: where it lies.
      reason: one of beam_preprocess.audio.REASONS.
      detail: what was found.
    """

    track_id: str
    uri: str
    reason: str
    detail: str

    def to_json(self) -> str:
        """One line of ASCII."""
        return json.dumps(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """One shard that was written; its size depends on the number of tracks only by `contents` and `rejects`.

    Attributes:
      part: the part it belongs to.
      fingerprint: of the plan it was written by.
      shard: the file.
      tracks: tracks per label name.
      record_frames: frames of a record -> records.
      statistics: per band, before rounding.
      contents: track_id -> hash of the track's records; equal hashes are the same audio.
      rejects: inputs that could not be used.
      sound: label name -> what its tracks have in common that is not music.
      audio_s: seconds of audio in the records.
      work_s: seconds of the worker's time by activity.
    """

    part: str
    fingerprint: str
    shard: Shard
    tracks: Mapping[str, int]
    record_frames: Mapping[int, int]
    statistics: BandStatistics
    contents: Mapping[str, str]
    rejects: tuple[Rejected, ...]
    sound: Mapping[str, LabelSound]
    audio_s: float
    work_s: Mapping[str, float]

    def to_json(self) -> str:
        """One line of ASCII."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data["shard"] = dataclasses.asdict(self.shard)
        data["statistics"] = self.statistics.to_json()
        data["rejects"] = [dataclasses.asdict(reject) for reject in self.rejects]
        data["sound"] = {label: sound.to_json() for label, sound in self.sound.items()}
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> "ShardResult":
        """Inverse of `to_json`.

        Raises:
          ValueError: the text is something else.
        """
        return json_data.build(cls, json_data.parse(text))


_Item = TypeVar("_Item")


class Stopwatch:
    """Adds up seconds by activity; an activity inside another is not counted twice.

    Attributes:
      seconds: activity -> seconds.
    """

    def __init__(self, activity: str) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._activity = activity
        self._since = time.perf_counter()

    def iterate(self, activity: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yields the items, and counts the time that making them takes as an activity."""
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
        """Seconds by activity, up to now."""
        self._switch(self._activity)
        return dict(self.seconds)

    def _switch(self, activity: str) -> str:
        before, now = self._activity, time.perf_counter()
        self.seconds[before] += now - self._since
        self._activity, self._since = activity, now
        return before


# Of glibc's malloc.h: how much free memory a thread keeps, and from what size memory is always asked of the system.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Blocks of audio and what is made of them are up to 4.2 MB, a few at a time.
_KEPT_BYTES, _LARGE_BYTES = 16 << 20, 8 << 20


def prepare_worker() -> threadpoolctl.threadpool_limits:
    """Leaves the cores to the workers, and the memory of one block to the next, until the process ends.

    BLAS threads of its own would only get in a worker's way. And memory that goes back to the system after each block
    comes again page by page, which takes as long as half of all the computing (glibc; others are left as they are).

    Returns:
      The limit on BLAS threads, which holds while it is kept.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    return threadpoolctl.threadpool_limits(1, user_api="blas")


def end_children() -> None:
    """Kills all processes that this one has started, and those that they have; where there is /proc.

    Beam's workers that are processes would only end when they miss their launcher, and complain.
    """
    for process in [*_descendants(os.getpid())]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _descendants(process: int) -> Iterator[int]:
    for listed in Path(f"/proc/{process}/task").glob("*/children"):
        # A thread or a process may end before it is asked.
        with contextlib.suppress(OSError):
            for child in map(int, listed.read_text("ascii").split()):
                yield from _descendants(child)
                yield child


NAMESPACE = "beam_preprocess"
RESULTS = "results"
# Tag of the output that pairs the hash of a track's records with its id.
CONTENTS = "contents"
REJECTS = "rejects"
# Spectrograms of clips and songs wait in memory; those of hours, on the worker's disk.
_SPOOL_BYTES = 8 << 20


class WriteShard(beam.DoFn):
    """ShardPlan as JSON -> ShardResult, after the shard's file is complete under its final name.

    All results meet on one worker, so what they tell of single tracks goes its own ways, and is not in them.

    The shard is the unit of retry: a bundle that fails leaves nothing under a final name, and one that is done again
    writes the same bytes. A shard that an earlier, killed run finished is kept.
    """

    def __init__(self, config: JobConfig, front_end: FrontEnd, labels: tuple[str, ...]) -> None:
        self._config = config
        self._front_end = front_end
        self._label_index = {label: index for index, label in enumerate(labels)}

    def setup(self) -> None:
        """Has the process as it should be for what this computes."""
        self._limits = prepare_worker()

    def process(self, line: str) -> Iterator[Any]:
        """Writes one shard, or finds it written.

        Yields:
          (hash, track_id) of each track, tagged CONTENTS; each Rejected, tagged REJECTS; the ShardResult, without both.

        Raises:
          OutputError: the output, or what waits in the temporary directory, cannot be written.
        """
        plan = ShardPlan.from_json(line)
        with writing_to(self._config.output):
            result = kept_result(self._config.output, plan)
            if result is None:
                result = self._write(plan)
                storage.write_text(self._config.output, sidecar(plan.file), result.to_json())
        _count(result)
        for track_id, content in result.contents.items():
            # As bytes: Beam's coder of text takes no file name that is not UTF-8.
            yield beam.pvalue.TaggedOutput(CONTENTS, (content, to_bytes(track_id)))
        for reject in result.rejects:
            yield beam.pvalue.TaggedOutput(REJECTS, reject)
        yield dataclasses.replace(result, contents={}, rejects=())

    def _write(self, plan: ShardPlan) -> ShardResult:
        stopwatch = Stopwatch("write")
        tally = _Tally(self._front_end.config.n_mels)
        with storage.replacing(self._config.output, plan.file) as file:
            writer = RecordWriter(file)
            for track in plan.tracks:
                # A track is known to be good only at its end: until then it waits here, on disk if it is long.
                with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
                    measure = TrackMeasure()
                    try:
                        statistics, content = self._transform(track, spool, stopwatch, measure)
                    except Reject as reject:
                        tally.rejects.append(
                            Rejected(track.track_id, track.origin or track.uri, reject.reason, reject.detail)
                        )
                        continue
                    tally.add(track, statistics, content, measure.sound())
                    for record in self._records(track, statistics.count, spool):
                        writer.write(encode(record))
                        tally.record_frames[len(record.log_mel)] += 1
        return ShardResult(
            part=plan.part,
            fingerprint=plan.fingerprint,
            shard=Shard(plan.file, writer.records, tally.statistics.count, writer.size, writer.sha256),
            tracks=tally.tracks,
            record_frames=tally.record_frames,
            statistics=tally.statistics,
            contents=tally.contents,
            rejects=tuple(tally.rejects),
            sound=tally.sound,
            audio_s=tally.statistics.count / self._front_end.config.frames_per_s,
            work_s=stopwatch.stop(),
        )

    def _transform(
        self, track: Track, spool: IO[bytes], stopwatch: Stopwatch, measure: TrackMeasure
    ) -> tuple[BandStatistics, str]:
        """Writes a track's log-mel, rounded, to the spool; gives its statistics before that, and a hash after."""
        statistics = BandStatistics.empty(self._front_end.config.n_mels)
        content = hashlib.blake2b(digest_size=16)
        blocks = stopwatch.iterate("decode", self._waveform(track, measure))
        for log_mel in stopwatch.iterate("transform", self._front_end.stream(blocks)):
            statistics = statistics.merge(BandStatistics.of(log_mel))
            data = log_mel.astype(DTYPES[self._config.dtype]).tobytes()
            content.update(data)
            with writing_to(tempfile.gettempdir()):
                spool.write(data)
        return statistics, content.hexdigest()

    def _waveform(self, track: Track, measure: TrackMeasure) -> Iterator[np.ndarray]:
        return read_track(
            track,
            sample_rate=self._front_end.config.sample_rate,
            min_samples=self._front_end.min_samples(self._config.min_frames),
            max_duration_s=self._config.max_duration_s,
            observe=measure,
        )

    def _records(self, track: Track, frames: int, spool: IO[bytes]) -> Iterator[Record]:
        mel_bands, dtype = self._front_end.config.n_mels, DTYPES[self._config.dtype]
        spool.seek(0)
        for segment, length in enumerate(segment_lengths(frames)):
            values = np.frombuffer(spool.read(length * mel_bands * dtype.itemsize), dtype)
            yield Record(
                track.track_id, track.group, self._label_index[track.label], segment, values.reshape(length, mel_bands)
            )


def read_track(track: Track, **how: Any) -> Iterator[np.ndarray]:
    """A track's waveform in blocks of [samples] float32; keywords and errors are those of `audio.stream`.

    Raises:
      Reject: also when the file cannot be opened.
    """
    try:
        file = storage.open_file(track.uri)
    except (OSError, BeamIOError) as error:
        raise Reject("unreadable", getattr(error, "strerror", None) or str(error)) from error
    with file:
        yield from stream(file, name=track.track_id, **how)


class _Tally:
    """What adds up over the tracks of a shard."""

    def __init__(self, mel_bands: int) -> None:
        self.tracks: Counter[str] = Counter()
        self.record_frames: Counter[int] = Counter()
        self.statistics = BandStatistics.empty(mel_bands)
        self.contents: dict[str, str] = {}
        self.rejects: list[Rejected] = []
        self.sound: dict[str, LabelSound] = {}

    def add(self, track: Track, statistics: BandStatistics, content: str, sound: TrackSound) -> None:
        self.tracks[track.label] += 1
        self.sound.setdefault(track.label, LabelSound()).add(sound)
        self.statistics = self.statistics.merge(statistics)
        self.contents[track.track_id] = content


def _count(result: ShardResult) -> None:
    """Beam's own metrics, for whoever watches the job on an engine."""
    Metrics.counter(NAMESPACE, "tracks").inc(sum(result.tracks.values()))
    Metrics.counter(NAMESPACE, "audio_s").inc(round(result.audio_s))
    for reject in result.rejects:
        Metrics.counter(NAMESPACE, f"rejected_{reject.reason}").inc()
    for activity, seconds in result.work_s.items():
        Metrics.distribution(NAMESPACE, f"{activity}_ms_per_shard").update(round(1000 * seconds))


def sidecar(file: str) -> str:
    """Where the result of a finished shard is kept until the whole dataset is finished."""
    return f"{PARTIAL_DIR}/{file}.json"


def kept_result(output: str, plan: ShardPlan) -> ShardResult | None:
    """The result of a shard that an earlier run finished by the same plan, if its file is still whole.

    A shard that lacks unreadable files is done again: they may be readable by now.
    """
    text = storage.read_text(FileSystems.join(output, sidecar(plan.file)))
    try:
        result = ShardResult.from_json(text or "")
    except ValueError:
        return None
    if result.fingerprint != plan.fingerprint or any(reject.reason == "unreadable" for reject in result.rejects):
        return None
    whole = storage.size_of(FileSystems.join(output, plan.file)) == result.shard.bytes
    return result if whole else None
