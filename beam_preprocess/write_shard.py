"""One shard from its tracks: read, decode, transform and write, one clip in memory at a time."""

from collections import Counter
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import threadpoolctl
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.audio import Reject, decode
from beam_preprocess.config import JobConfig
from beam_preprocess.log_mel import FrontEnd
from beam_preprocess.plan import ShardPlan
from beam_preprocess.result import Rejected, ShardResult
from beam_preprocess.tracks import Track
from tfrecords.example import DTYPES, Record, encode
from tfrecords.manifest import PARTIAL_DIR, Shard
from tfrecords.shard import RecordWriter
from tfrecords.statistics import BandStatistics

NAMESPACE = "beam_preprocess"
# A record of a long recording holds at most this many frames (3 minutes of the default front end).
MAX_RECORD_FRAMES = 8192


class WriteShard(beam.DoFn):
    """ShardPlan as JSON -> ShardResult, after the shard's file is complete under its final name.

    The shard is the unit of retry: a bundle that fails leaves nothing under a final name, and one that is done again
    writes the same bytes. A shard that an earlier, killed run finished is kept.
    """

    def __init__(self, config: JobConfig, front_end: FrontEnd, labels: tuple[str, ...]) -> None:
        self._config = config
        self._front_end = front_end
        self._label_index = {label: index for index, label in enumerate(labels)}

    def setup(self) -> None:
        """Leaves the cores to the workers: BLAS threads of its own would only get in their way."""
        self._blas = threadpoolctl.threadpool_limits(1, user_api="blas")

    def process(self, line: str) -> Iterator[ShardResult]:
        """Writes one shard, or finds it written."""
        plan = ShardPlan.from_json(line)
        result = kept_result(self._config.output, plan)
        if result is None:
            result = self._write(plan)
            storage.write_text(self._config.output, sidecar(plan.file), result.to_json())
        beam.metrics.Metrics.counter(NAMESPACE, "tracks").inc(sum(result.tracks.values()))
        for reject in result.rejects:
            beam.metrics.Metrics.counter(NAMESPACE, f"rejected_{reject.reason}").inc()
        yield result

    def _write(self, plan: ShardPlan) -> ShardResult:
        tracks: Counter[str] = Counter()
        record_frames: Counter[int] = Counter()
        rejects: list[Rejected] = []
        statistics = BandStatistics.empty(self._front_end.config.n_mels)
        with storage.replacing(self._config.output, plan.file) as file:
            writer = RecordWriter(file)
            for track in plan.tracks:
                try:
                    log_mel = self._log_mel(track)
                except Reject as reject:
                    rejects.append(Rejected(track.track_id, track.uri, reject.reason, reject.detail))
                    continue
                tracks[track.label] += 1
                statistics = statistics.merge(BandStatistics.of(log_mel))
                for record in self._records(track, log_mel):
                    writer.write(encode(record))
                    record_frames[len(record.log_mel)] += 1
        frames = sum(length * count for length, count in record_frames.items())
        return ShardResult(
            part=plan.part,
            fingerprint=plan.fingerprint,
            shard=Shard(plan.file, writer.records, frames, writer.size, writer.sha256),
            tracks=tracks,
            record_frames=record_frames,
            statistics=statistics,
            rejects=tuple(rejects),
            audio_s=frames / self._front_end.config.frames_per_s,
        )

    def _log_mel(self, track: Track) -> np.ndarray:
        try:
            file = storage.open_file(track.uri)
        except (OSError, BeamIOError) as error:
            raise Reject("unreadable", getattr(error, "strerror", None) or str(error)) from error
        with file:
            waveform = decode(
                file,
                sample_rate=self._front_end.config.sample_rate,
                min_samples=self._front_end.min_samples(self._config.min_frames),
                max_duration_s=self._config.max_duration_s,
            )
        return self._front_end(waveform)

    def _records(self, track: Track, log_mel: np.ndarray) -> Iterator[Record]:
        values = log_mel.astype(DTYPES[self._config.dtype])
        for segment, piece in enumerate(split_frames(values)):
            yield Record(track.track_id, track.group, self._label_index[track.label], segment, piece)


def split_frames(log_mel: np.ndarray) -> list[np.ndarray]:
    """A long spectrogram [frames, mel_bands] in equal pieces of at most MAX_RECORD_FRAMES, in order."""
    return np.array_split(log_mel, -(-len(log_mel) // MAX_RECORD_FRAMES))


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
    except (KeyError, TypeError, ValueError):
        return None
    path = FileSystems.join(output, plan.file)
    if any(reject.reason == "unreadable" for reject in result.rejects):
        return None
    if result.fingerprint != plan.fingerprint or not FileSystems.exists(path):
        return None
    (match,) = FileSystems.match([path])
    return result if match.metadata_list[0].size_in_bytes == result.shard.bytes else None
