"""What a worker finds out about a batch of tracks, and the files in which it keeps that.

One decoding of each track gives its measures and its fingerprint. From here on, only hashes and numbers of tracks
travel.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence

import apache_beam as beam
import google_crc32c
import numpy as np
from apache_beam.metrics import Metrics

from beam_preprocess import storage, write_shard
from beam_preprocess.audio import Block, Reject
from beam_preprocess.audio.measure import TrackMeasure, TrackSound
from beam_preprocess.audit import fingerprint
from beam_preprocess.audit.fingerprint import RATE_HZ, Fingerprinter
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.plan import Plan, ShardPlan
from beam_preprocess.storage import reading_from, writing_to
from beam_preprocess.write_shard import NAMESPACE, Rejected, read_track
from tfrecords.manifest import PARTIAL_DIR

# Length of the stretches whose level is measured (music has shorter rests), and the level (dB of full scale) below
# which a stretch is silent.
STRETCH_S = 0.5
SILENT_DB = -60.0
# Absolute value from which a sample is at full scale; 16 bits end at 0.99997, and lossy decoders go past 1.
_FULL_SCALE = 0.9998
# Samples in a row at full scale that make a flat top; a peak of music has one or two.
_FLAT_TOP = 3
# Power of the channels' difference over that of their mean (-60 dB) up to which they are one: lossy coders round each.
_SAME_CHANNELS = 1e-6
# Entries that wait to travel together.
_MAX_WAITING = 1 << 20
# On the disk: words of fingerprints, and where each fingerprint begins.
_WORD = np.dtype("<u4")
_PLACE = np.dtype("<u8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalyzedTrack(TrackSound):
    """What was measured of a track that can be used.

    Attributes:
      duration_s: length in seconds.
      channels: as in the file.
      clipped_share: share of the samples in flat tops at full scale, 0 to 1.
      silent_share: share of the stretches of STRETCH_S in which the mean of the channels is below SILENT_DB, 0 to 1.
      same_channels: whether it has several channels that are all the same.
      content: hash of rate, length, fingerprint and checksum of the mean of the channels; tracks with equal hashes have
        the same samples.
    """

    duration_s: float
    channels: int
    clipped_share: float
    silent_share: float
    same_channels: bool
    content: str


class TrackAnalyzer:
    """Measures a track block by block: an observer of `audio.stream`."""

    def __init__(self) -> None:
        self._samples = self._rate = self._channels = self._clipped = self._stretches = self._silent = 0
        self._mean_power = self._difference_power = 0.0
        self._checksum = 0
        self._measure = TrackMeasure()

    def __call__(self, block: Block, mean: np.ndarray) -> None:
        """Add a block, and the mean of its channels, [samples] float32."""
        self._measure(block, mean)
        self._samples += block.samples
        self._rate, self._channels = block.rate, len(block.channels)
        self._checksum = google_crc32c.extend(self._checksum, np.ascontiguousarray(mean))
        self._clipped += sum(map(_clipped_samples, block.channels))
        length = max(1, int(STRETCH_S * block.rate))
        stretches = mean[: len(mean) // length * length].reshape(-1, length)
        power = np.vecdot(stretches, stretches) / length
        self._stretches += len(power)
        self._silent += int(np.count_nonzero(power < 10 ** (SILENT_DB / 10)))
        if self._channels > 1:
            self._mean_power += float(np.dot(mean, mean))
            differences = (channel - mean for channel in block.channels)
            self._difference_power += sum(float(np.dot(one, one)) for one in differences) / self._channels

    def result(self, words: np.ndarray) -> AnalyzedTrack:
        """Return what was measured, after the last block, of a track with this fingerprint, [frames] uint32."""
        # The checksum tells copies of one fingerprint apart, such as louder ones; a hash of all samples takes ten times
        # as long.
        identity = f"{self._rate} {self._samples} {self._checksum} ".encode("ascii") + words.tobytes()
        sound = self._measure.sound()
        return AnalyzedTrack(
            # Of joined files with different rates, the last one's.
            **vars(sound) | {"sample_rate": self._rate, "bandwidth_hz": round(sound.bandwidth_hz)},
            duration_s=round(self._samples / self._rate, 3),
            channels=self._channels,
            clipped_share=_share(self._clipped, self._samples * self._channels),
            silent_share=_share(self._silent, self._stretches),
            same_channels=self._channels > 1 and self._difference_power <= _SAME_CHANNELS * self._mean_power,
            content=hashlib.sha256(identity).hexdigest()[:32],
        )


def _clipped_samples(channel: np.ndarray) -> int:
    """Return the number of a channel's samples that are in flat tops."""
    if not len(channel) or max(channel.max(), -channel.min()) < _FULL_SCALE:
        return 0
    full = np.abs(channel) >= _FULL_SCALE
    edges = np.flatnonzero(np.diff(full, prepend=False, append=False))
    lengths = edges[1::2] - edges[0::2]
    return int(lengths[lengths >= _FLAT_TOP].sum())


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


@dataclasses.dataclass(frozen=True)
class Batch:
    """Tracks that one worker analyzes: the unit of work. Tracks are numbered from 0 over all batches.

    Attributes:
      number: of the batch.
      first: number of its first track.
      shard: its tracks.
    """

    number: int
    first: int
    shard: ShardPlan

    def to_json(self) -> str:
        """Return one line of ASCII."""
        return json.dumps([self.number, self.first, self.shard.to_json()])

    @classmethod
    def from_json(cls, line: str) -> "Batch":
        """Return the batch that `to_json` wrote."""
        number, first, shard = json.loads(line)
        return cls(number, first, ShardPlan.from_json(shard))


def batches(plan: Plan) -> Iterator[Batch]:
    """Yield a batch for each shard of a plan."""
    first = 0
    for number, shard in enumerate(plan.shards):
        yield Batch(number, first, shard)
        first += len(shard.tracks)


def tracks_of(plan: Plan) -> list[tuple[Track, str]]:
    """Return each track and its part, in the order of the tracks' numbers."""
    return [(track, shard.part) for shard in plan.shards for track in shard.tracks]


def write_words(output: str, batch: int, fingerprints: Iterator[np.ndarray]) -> None:
    """Write the fingerprints of a batch, one after another, then where each begins and the last one ends."""
    places = [0]
    with storage.replacing(output, _words_name(batch)) as file:
        for words in fingerprints:
            file.write(words.astype(_WORD).tobytes())
            places.append(places[-1] + len(words))
        file.write(np.array(places, _PLACE).tobytes())


class WordReader:
    """Reads single fingerprints that `write_words` wrote.

    Args:
      output: of the audit.
      sizes: tracks of each batch.
    """

    def __init__(self, output: str, sizes: Sequence[int]) -> None:
        self._output = output
        self._ends = np.cumsum(sizes)

    def __call__(self, track: int) -> np.ndarray:
        """Return the words of the track of that number, [frames] uint32.

        Raises:
          OutputError: its file cannot be read.
        """
        batch = int(np.searchsorted(self._ends, track, "right"))
        # From the end of the file: a place for each further track of the batch, and for this one and the end.
        behind = int(self._ends[batch] - track + 1) * _PLACE.itemsize
        uri = storage.join(self._output, _words_name(batch))
        with reading_from(uri), storage.open_file(uri) as file:
            file.seek(-behind, 2)
            begin, end = np.frombuffer(file.read(2 * _PLACE.itemsize), _PLACE).tolist()
            file.seek(begin * _WORD.itemsize)
            return np.frombuffer(file.read((end - begin) * _WORD.itemsize), _WORD)


def _words_name(batch: int) -> str:
    return f"{PARTIAL_DIR}/words-{batch:05d}.bin"


def analysis_name(batch: int) -> str:
    """Return the file of `write_analysis` below the output."""
    return f"{PARTIAL_DIR}/analysis-{batch:05d}.jsonl"


def write_analysis(output: str, batch: int, results: Sequence[AnalyzedTrack | Rejected]) -> None:
    """Write what was found out about each track of a batch."""
    rows = ([isinstance(item, AnalyzedTrack), dataclasses.asdict(item)] for item in results)
    storage.write_text(output, analysis_name(batch), "".join(f"{json.dumps(row)}\n" for row in rows))


def read_analysis(output: str, batch: int) -> list[AnalyzedTrack | Rejected]:
    """Return what `write_analysis` wrote; nothing where there is no such file."""
    return parse_analysis(storage.read_text(storage.join(output, analysis_name(batch))) or "")


def parse_analysis(text: str) -> list[AnalyzedTrack | Rejected]:
    """Return what a file of `write_analysis` holds."""
    rows = map(json.loads, text.splitlines())
    return [AnalyzedTrack(**fields) if usable else Rejected(**fields) for usable, fields in rows]


class AnalyzeTracks(beam.DoFn):
    """Batch as JSON -> (partition, block of hashes), after the batch's two files are written.

    The batch is the unit of retry: analyzed again, it writes the same files and yields the same blocks.
    """

    def __init__(self, config: JobConfig, partitions: int) -> None:
        self._config = config
        self._partitions = partitions
        # The shortest clip that the preprocessing job would take, at another rate.
        samples = (config.min_frames - 1) * config.front_end.hop_length
        self._min_samples = math.ceil(samples * RATE_HZ / config.front_end.sample_rate)
        self._fingerprinter = Fingerprinter()

    def setup(self) -> None:
        """Prepare the worker's process."""
        self._limits = write_shard.prepare_worker()

    def process(self, line: str) -> Iterator[tuple[int, bytes]]:
        """Analyze each track of a batch; yield at least one block, so that no later stage is empty.

        Raises:
          OutputError: the output cannot be written.
        """
        batch = Batch.from_json(line)
        results: list[AnalyzedTrack | Rejected] = []
        waiting: list[np.ndarray] = []
        ready: list[tuple[int, bytes]] = []

        def fingerprints() -> Iterator[np.ndarray]:
            for number, track in enumerate(batch.shard.tracks, batch.first):
                words, result = self._analyze(track)
                results.append(result)
                waiting.append(fingerprint.entries(number, words))
                if sum(map(len, waiting)) > _MAX_WAITING:
                    ready.extend(fingerprint.deal_entries(np.concatenate(waiting), self._partitions))
                    waiting.clear()
                yield words

        with writing_to(self._config.output):
            write_words(self._config.output, batch.number, fingerprints())
            write_analysis(self._config.output, batch.number, results)
        for item in results:
            name = "tracks" if isinstance(item, AnalyzedTrack) else f"rejected_{item.reason}"
            Metrics.counter(NAMESPACE, name).inc()
        yield 0, b""
        yield from ready
        if waiting:
            yield from fingerprint.deal_entries(np.concatenate(waiting), self._partitions)

    def _analyze(self, track: Track) -> tuple[np.ndarray, AnalyzedTrack | Rejected]:
        analyzer = TrackAnalyzer()
        blocks = read_track(
            track,
            sample_rate=RATE_HZ,
            min_samples=self._min_samples,
            max_duration_s=self._config.max_duration_s,
            observe=analyzer,
        )
        try:
            words = self._fingerprinter(blocks)
            return words, analyzer.result(words)
        except Reject as reject:
            uri = track.origin or track.uri
            return np.zeros(0, np.uint32), Rejected(track.track_id, uri, reject.reason, reject.detail)
