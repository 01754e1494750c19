"""One shard from its tracks: read, decode, transform and write, with one block of one clip in memory at a time."""

import ctypes
import dataclasses
import hashlib
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, BinaryIO, TypeVar, cast

import apache_beam as beam
import numpy as np
import threadpoolctl
from apache_beam.metrics import Metrics

from beam_preprocess import storage
from beam_preprocess.audio import Reject, stream
from beam_preprocess.audio.front_end import FrontEnd, segment_lengths
from beam_preprocess.audio.measure import TrackMeasure, TrackSound
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.label_sound import LabelSound
from beam_preprocess.plan import ShardPlan
from beam_preprocess.storage import writing_to
from tfrecords.common import json_data
from tfrecords.common.command_line import UserError
from tfrecords.manifest import PARTIAL_DIR, BandStatistics, Shard, lengths_text
from tfrecords.schema import DTYPES, Record, encode, to_bytes
from tfrecords.shard import RecordWriter

# Of Beam's metrics.
NAMESPACE = "beam_preprocess"
# Tags of the outputs of WriteShard.
RESULTS = "results"
CONTENTS = "contents"
REJECTS = "rejects"
# Digits of a checksum at the end of a file's name.
_SUFFIX_DIGITS = 32
# The spectrograms of clips and songs are held in memory; those of hours of audio, on the worker's disk.
_SPOOL_BYTES = 8 << 20
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

    def to_json(self) -> str:
        """Return one line of ASCII."""
        return json.dumps(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What a worker reports of a written shard: all that the manifest needs, in a form that can be merged.

    Only `contents`, `rejects` and the shard's `lengths` grow with the number of tracks. Until the dataset is finished,
    the result is kept in a file beside the shard (see `sidecar`).

    Attributes:
      part: the part that the shard belongs to.
      fingerprint: of the shard's plan.
      shard: the file.
      tracks: label name -> tracks.
      record_frames: frames of a record -> records.
      statistics: per band, before rounding to the records' dtype.
      contents: track_id -> hash of the track's records; equal hashes mean the same audio.
      rejects: inputs that cannot be used.
      sound: label name -> properties of the sound of its tracks.
      audio_s: seconds of audio in the records.
      work_s: activity -> seconds of the worker's time.
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
        """Return one line of ASCII."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data["shard"] = dataclasses.asdict(self.shard)
        data["statistics"] = self.statistics.to_json()
        data["rejects"] = [dataclasses.asdict(reject) for reject in self.rejects]
        data["sound"] = {label: sound.to_json() for label, sound in self.sound.items()}
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> "ShardResult":
        """Return the result that `to_json` wrote.

        Raises:
          ValueError: the text is something else.
        """
        return json_data.build(cls, json_data.parse(text))


class WriteShard(beam.DoFn):
    """ShardPlan as JSON -> ShardResult, after the shard's file is complete in the directory of unfinished work.

    The shard is the unit of retry. An engine that lost sight of a worker has two attempts at one shard at a time, and
    those may differ, where one of them could not read a file: each has a file named by its content, and the job's last
    stage chooses the file of the attempt whose result it was given (`place_shard`). A shard that an earlier,
    interrupted run finished is kept.

    All results meet on one worker, so rejects and content hashes, which grow with the tracks, have their own outputs.
    """

    def __init__(self, config: JobConfig, front_end: FrontEnd, labels: tuple[str, ...]) -> None:
        self._config = config
        self._front_end = front_end
        self._label_index = {label: index for index, label in enumerate(labels)}

    def setup(self) -> None:
        """Prepare the worker's process."""
        self._limits = prepare_worker()

    def process(self, line: str) -> Iterator[Any]:
        """Write one shard, unless it is there already.

        Yields:
          (hash, track_id) of each track, tagged CONTENTS; each Rejected, tagged REJECTS; the ShardResult without them.

        Raises:
          OutputError: the output or the temporary directory cannot be written.
        """
        plan = ShardPlan.from_json(line)
        with writing_to(self._config.output):
            result = finished_result(self._config.output, plan)
            if result is None:
                result = self._write(plan)
                storage.write_text(self._config.output, sidecar(plan.file), result.to_json())
        _count(result)
        for track_id, content in result.contents.items():
            # As bytes: Beam's coder for text refuses file names that are not UTF-8.
            yield beam.pvalue.TaggedOutput(CONTENTS, (content, to_bytes(track_id)))
        for reject in result.rejects:
            yield beam.pvalue.TaggedOutput(REJECTS, reject)
        yield dataclasses.replace(result, contents={}, rejects=())

    def _write(self, plan: ShardPlan) -> ShardResult:
        stopwatch = Stopwatch("write")
        totals = _Totals(self._front_end.config.n_mels)
        attempt = f"{PARTIAL_DIR}/{plan.file}"
        with storage.replacing(self._config.output, attempt, suffix=lambda: _attempt_suffix(writer.sha256)) as file:
            writer = RecordWriter(cast("BinaryIO", file))
            for track in plan.tracks:
                try:
                    self._write_track(track, writer, totals, stopwatch)
                except Reject as reject:
                    uri = track.origin or track.uri
                    totals.rejects.append(Rejected(track.track_id, uri, reject.reason, reject.detail))
        return ShardResult(
            part=plan.part,
            fingerprint=plan.fingerprint,
            shard=Shard(
                plan.file,
                writer.records,
                totals.statistics.count,
                writer.size,
                writer.sha256,
                lengths_text(totals.record_frames),
            ),
            tracks=totals.tracks,
            record_frames=Counter(totals.record_frames),
            statistics=totals.statistics,
            contents=totals.contents,
            rejects=tuple(totals.rejects),
            sound=totals.sound,
            audio_s=totals.statistics.count / self._front_end.config.frames_per_s,
            work_s=stopwatch.stop(),
        )

    def _write_track(self, track: Track, writer: RecordWriter, totals: "_Totals", stopwatch: "Stopwatch") -> None:
        # Whether a track can be used is known only at its end: until then its spectrogram waits in the spool.
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
            measure = TrackMeasure()
            statistics, content = self._transform(track, spool, stopwatch, measure)
            totals.add(track, statistics, content, measure.sound())
            for record in self._records(track, statistics.count, spool):
                writer.write(encode(record))
                totals.record_frames.append(len(record.log_mel))

    def _transform(
        self, track: Track, spool: IO[bytes], stopwatch: "Stopwatch", measure: TrackMeasure
    ) -> tuple[BandStatistics, str]:
        """Write a track's log-mel in the records' dtype to the spool; return its statistics and the bytes' hash."""
        statistics = BandStatistics.empty(self._front_end.config.n_mels)
        content = hashlib.blake2b(digest_size=16)
        waveform = read_track(
            track,
            sample_rate=self._front_end.config.sample_rate,
            min_samples=self._front_end.min_samples(self._config.min_frames),
            max_duration_s=self._config.max_duration_s,
            observe=measure,
        )
        blocks = stopwatch.iterate("decode", waveform)
        for log_mel in stopwatch.iterate("transform", self._front_end.stream(blocks)):
            statistics = statistics.merge(BandStatistics.of(log_mel))
            data = log_mel.astype(DTYPES[self._config.record_dtype]).tobytes()
            content.update(data)
            with writing_to(tempfile.gettempdir()):
                spool.write(data)
        return statistics, content.hexdigest()

    def _records(self, track: Track, frames: int, spool: IO[bytes]) -> Iterator[Record]:
        mel_bands, dtype = self._front_end.config.n_mels, DTYPES[self._config.record_dtype]
        spool.seek(0)
        for segment, length in enumerate(segment_lengths(frames)):
            values = np.frombuffer(spool.read(length * mel_bands * dtype.itemsize), dtype)
            yield Record(
                track.track_id, track.group, self._label_index[track.label], segment, values.reshape(length, mel_bands)
            )


class _Totals:
    """Sums over the tracks of a shard."""

    def __init__(self, mel_bands: int) -> None:
        self.tracks: Counter[str] = Counter()
        self.record_frames: list[int] = []
        self.statistics = BandStatistics.empty(mel_bands)
        self.contents: dict[str, str] = {}
        self.rejects: list[Rejected] = []
        self.sound: dict[str, LabelSound] = {}

    def add(self, track: Track, statistics: BandStatistics, content: str, sound: TrackSound) -> None:
        self.tracks[track.label] += 1
        self.sound.setdefault(track.label, LabelSound()).add(sound)
        self.statistics = self.statistics.merge(statistics)
        self.contents[track.track_id] = content


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


def finished_result(output: str, plan: ShardPlan) -> ShardResult | None:
    """Return the result of a shard that an earlier run finished by the same plan, if its file is still whole.

    A shard that lacks unreadable files is written again: they may be readable by now.
    """
    text = storage.read_text(storage.join(output, sidecar(plan.file)))
    try:
        result = ShardResult.from_json(text or "")
    except ValueError:
        return None
    # An earlier version wrote no lengths: what the manifest holds must not depend on which version began the job.
    if result.shard.records and not result.shard.lengths:
        return None
    if result.fingerprint != plan.fingerprint or any(reject.reason == "unreadable" for reject in result.rejects):
        return None
    if storage.size_of(attempt_file(output, result.shard)) == result.shard.bytes or _is_placed(output, result.shard):
        return result
    return None


def attempt_file(output: str, shard: Shard) -> str:
    """Return where an attempt at a shard is, named by its content, until the last stage chooses it."""
    return storage.join(output, PARTIAL_DIR, shard.file + _attempt_suffix(shard.sha256))


def _attempt_suffix(sha256: str) -> str:
    return f".{sha256[:_SUFFIX_DIGITS]}"


def place_shard(output: str, shard: Shard) -> None:
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


def _is_placed(output: str, shard: Shard) -> bool:
    """Return whether a shard's final file is there and has its content, which is read for that."""
    uri = storage.join(output, shard.file)
    if storage.size_of(uri) != shard.bytes:
        return False
    with storage.open_file(uri) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256


def _count(result: ShardResult) -> None:
    """Update Beam's metrics, which engines show while a job runs."""
    Metrics.counter(NAMESPACE, "tracks").inc(sum(result.tracks.values()))
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
