"""One shard of records from its tracks: read, decode, transform and write, with one block of one clip in memory."""

import dataclasses
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import IO, Any, BinaryIO, cast

import apache_beam as beam
import numpy as np

from beam_preprocess.audio import Reject
from beam_preprocess.audio.front_end import FrontEnd, segment_lengths
from beam_preprocess.audio.measure import TrackMeasure, TrackSound
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.label_sound import LabelSound
from beam_preprocess.plan import ShardPlan
from beam_preprocess.shards import MakeShard, Rejected, Stopwatch, read_track
from beam_preprocess.storage import writing_to
from tfrecords.common import json_data
from tfrecords.manifest import BandStatistics, Shard, lengths_text
from tfrecords.schema import DTYPES, Record, encode, to_bytes
from tfrecords.shard import RecordWriter

# Tag of an output of WriteShard.
CONTENTS = "contents"
# The spectrograms of clips and songs are held in memory; those of hours of audio, on the worker's disk.
_SPOOL_BYTES = 8 << 20


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What a worker reports of a written shard: all that the manifest needs, in a form that can be merged.

    Only `contents`, `rejects` and the shard's `lengths` grow with the number of tracks. Until the dataset is finished,
    the result is kept in a file beside the shard (see `beam_preprocess.shards.sidecar`).

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

    @property
    def num_tracks(self) -> int:
        """Number of tracks in the records."""
        return sum(self.tracks.values())

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
          ValueError: the text is something else, or an earlier version's, which lacks the records' lengths: what the
            manifest holds must not depend on which version began the job.
        """
        result = json_data.build(cls, json_data.parse(text))
        if result.shard.records and not result.shard.lengths:
            raise ValueError("no lengths")
        return result


class WriteShard(MakeShard):
    """ShardPlan as JSON -> ShardResult: the tracks' log-mel as records.

    Content hashes grow with the tracks, so they have an output of their own, as rejects have.
    """

    def __init__(self, config: JobConfig, front_end: FrontEnd, labels: tuple[str, ...]) -> None:
        super().__init__(config.output, ShardResult)
        self._config = config
        self._front_end = front_end
        self._label_index = {label: index for index, label in enumerate(labels)}

    def report(self, plan: ShardPlan, result: ShardResult) -> Iterator[Any]:
        """Yield (hash, track_id) of each track, tagged CONTENTS; then as MakeShard, without these."""
        for track_id, content in result.contents.items():
            # As bytes: Beam's coder for text refuses file names that are not UTF-8.
            yield beam.pvalue.TaggedOutput(CONTENTS, (content, to_bytes(track_id)))
        yield from super().report(plan, dataclasses.replace(result, contents={}))

    def write(self, plan: ShardPlan, file: IO[bytes]) -> ShardResult:
        """Write the records of a shard's tracks; of those that cannot be used, keep why."""
        stopwatch = Stopwatch("write")
        totals = _Totals(self._front_end.config.n_mels)
        writer = RecordWriter(cast("BinaryIO", file))
        for track in plan.tracks:
            try:
                self._write_track(track, writer, totals, stopwatch)
            except Reject as reject:
                totals.rejects.append(Rejected.of(track, reject))
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

    def _write_track(self, track: Track, writer: RecordWriter, totals: "_Totals", stopwatch: Stopwatch) -> None:
        # Whether a track can be used is known only at its end: until then its spectrogram waits in the spool.
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
            measure = TrackMeasure()
            statistics, content = self._transform(track, spool, stopwatch, measure)
            totals.add(track, statistics, content, measure.sound())
            for record in self._records(track, statistics.count, spool):
                writer.write(encode(record))
                totals.record_frames.append(len(record.log_mel))

    def _transform(
        self, track: Track, spool: IO[bytes], stopwatch: Stopwatch, measure: TrackMeasure
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
