"""One shard from its tracks: read, decode, transform and write, one block of one clip in memory at a time."""

import dataclasses
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from beam_preprocess import storage, worker
from beam_preprocess.audio import Reject, stream
from beam_preprocess.audio.measure import TrackMeasure, TrackSound
from beam_preprocess.config import JobConfig
from beam_preprocess.label_sound import LabelSound
from beam_preprocess.log_mel import FrontEnd
from beam_preprocess.output_error import writing_to
from beam_preprocess.plan import ShardPlan
from beam_preprocess.result import Rejected, ShardResult
from beam_preprocess.segments import segment_lengths
from beam_preprocess.stopwatch import Stopwatch
from beam_preprocess.tracks import Track
from tfrecords.example import DTYPES, Record, encode, to_bytes
from tfrecords.manifest import PARTIAL_DIR, Shard
from tfrecords.shard import RecordWriter
from tfrecords.statistics import BandStatistics

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
        self._limits = worker.prepare()

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
