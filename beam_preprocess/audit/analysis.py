"""What is measured of one track while it is decoded: length, channels, clipping, silence, and a hash of its samples.

Tracks in batches, the unit of work; and what a worker keeps of a batch in files, so that it need not travel.

A worker listens to a batch of tracks: one decoding of each gives its measures and its fingerprint.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence

import apache_beam as beam
import google_crc32c
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from beam_preprocess import storage, write_shard
from beam_preprocess.audio import Block, Reject
from beam_preprocess.audio.measure import TrackMeasure
from beam_preprocess.audit import fingerprint
from beam_preprocess.audit.fingerprint import RATE_HZ, Fingerprinter
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.output_error import writing_to
from beam_preprocess.plan import Plan, ShardPlan
from beam_preprocess.write_shard import NAMESPACE, Rejected, read_track
from tfrecords.manifest import PARTIAL_DIR

# Samples that reach it are at full scale; 16 bits end at 0.99997, and lossy decoders go past 1.
_FULL_SCALE = 0.9998
# Samples at full scale in a row from which the top is flat: a peak of music has one or two.
_FLAT_TOP = 3
# Length of the stretches whose level is looked at (music has shorter rests), and the level (dB of full scale) below
# which one is silent.
STRETCH_S = 0.5
SILENT_DB = -60.0
# Power of the channels' difference over that of their sum (-60 dB) up to which they are one: lossy coders round each.
_SAME_CHANNELS = 1e-6


@dataclasses.dataclass(frozen=True)
class Sound:
    """One track that can be used.

    Attributes:
      duration_s: length.
      sample_rate: Hz, as in the file.
      channels: as in the file.
      clipped: share of the samples in flat tops at full scale, 0 to 1.
      silent: share of the stretches of STRETCH_S in which the mean of the channels is below SILENT_DB, 0 to 1.
      same_channels: whether it has several channels that are all the same.
      content: hash of rate, length, fingerprint and checksum of the mean of the channels; equal hashes are the same
        samples.
      bandwidth_hz: above it there is nothing.
      cancels: whether its channels are each other's opposite, so that their mean is silent.
      far_beyond_full_scale: whether samples are many times as large as full scale.
    """

    duration_s: float
    sample_rate: int
    channels: int
    clipped: float
    silent: float
    same_channels: bool
    content: str
    bandwidth_hz: float = 0.0
    cancels: bool = False
    far_beyond_full_scale: bool = False


class Measure:
    """Sees the blocks of one track as `audio.stream` decodes them, and sums up."""

    def __init__(self) -> None:
        self._samples = self._rate = self._channels = self._clipped = self._stretches = self._silent = 0
        self._sum_power = self._difference_power = 0.0
        self._checksum = 0
        self._track = TrackMeasure()

    def __call__(self, block: Block, mean: np.ndarray) -> None:
        """Takes a block, and the mean of its channels, [samples] float32."""
        self._track(block, mean)
        rate = block.rate
        self._samples += block.samples
        self._rate, self._channels = rate, len(block.channels)
        self._checksum = google_crc32c.extend(self._checksum, np.ascontiguousarray(mean))
        self._clipped += sum(map(_clipped_samples, block.channels))
        length = max(1, int(STRETCH_S * rate))
        stretches = mean[: len(mean) // length * length].reshape(-1, length)
        power = np.vecdot(stretches, stretches) / length
        self._stretches += len(power)
        self._silent += int(np.count_nonzero(power < 10 ** (SILENT_DB / 10)))
        if self._channels > 1:
            self._sum_power += float(np.dot(mean, mean))
            differences = (channel - mean for channel in block.channels)
            self._difference_power += sum(float(np.dot(one, one)) for one in differences) / self._channels

    def sound(self, words: np.ndarray) -> Sound:
        """What was measured, after the last block, of a track with this fingerprint."""
        # The checksum tells copies of one fingerprint apart, such as louder ones; a hash of all samples takes ten times
        # as long.
        identity = f"{self._rate} {self._samples} {self._checksum} ".encode("ascii") + words.tobytes()
        track = self._track.sound()
        same = self._channels > 1 and self._difference_power <= _SAME_CHANNELS * self._sum_power
        return Sound(
            duration_s=round(self._samples / self._rate, 3),
            sample_rate=self._rate,
            channels=self._channels,
            clipped=_share(self._clipped, self._samples * self._channels),
            silent=_share(self._silent, self._stretches),
            same_channels=same,
            content=hashlib.sha256(identity).hexdigest()[:32],
            bandwidth_hz=round(track.bandwidth_hz),
            cancels=track.cancels,
            far_beyond_full_scale=track.far_beyond_full_scale,
        )


def _clipped_samples(channel: np.ndarray) -> int:
    """Samples of a channel that are in flat tops."""
    if not len(channel) or max(channel.max(), -channel.min()) < _FULL_SCALE:
        return 0
    full = np.abs(channel) >= _FULL_SCALE
    edges = np.flatnonzero(np.diff(full, prepend=False, append=False))
    lengths = edges[1::2] - edges[0::2]
    return int(lengths[lengths >= _FLAT_TOP].sum())


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


_WORD = np.dtype("<u4")
_PLACE = np.dtype("<u8")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Tracks that one worker listens to. Over all batches, tracks are numbered from 0: numbers are what travels.

    Attributes:
      number: of the batch.
      first: number of its first track.
      shard: its tracks.
    """

    number: int
    first: int
    shard: ShardPlan

    def to_json(self) -> str:
        """One line of ASCII."""
        return json.dumps([self.number, self.first, self.shard.to_json()])

    @classmethod
    def from_json(cls, line: str) -> "Batch":
        """Inverse of `to_json`."""
        number, first, shard = json.loads(line)
        return cls(number, first, ShardPlan.from_json(shard))


def batches(plan: Plan) -> Iterator[Batch]:
    """A batch for each shard of a plan."""
    first = 0
    for number, shard in enumerate(plan.shards):
        yield Batch(number, first, shard)
        first += len(shard.tracks)


def tracks_of(plan: Plan) -> list[tuple[Track, str]]:
    """Each track and its part, by number."""
    return [(track, shard.part) for shard in plan.shards for track in shard.tracks]


def write_words(output: str, number: int, words: Iterator[np.ndarray]) -> None:
    """Keeps the fingerprints of a batch, one after another, and behind them where each begins and the last ends."""
    places = [0]
    with storage.replacing(output, _words_name(number)) as file:
        for track in words:
            file.write(track.astype(_WORD).tobytes())
            places.append(places[-1] + len(track))
        file.write(np.array(places, _PLACE).tobytes())


class WordReader:
    """Reads single fingerprints of a job.

    Args:
      output: the job's.
      sizes: tracks of each batch.
    """

    def __init__(self, output: str, sizes: Sequence[int]) -> None:
        self._output = output
        self._ends = np.cumsum(sizes)

    def __call__(self, track: int) -> np.ndarray:
        """The words of the track of that number, [frames] uint32."""
        number = int(np.searchsorted(self._ends, track, "right"))
        # From the end: a place for each track that is left in the batch, and one more.
        behind = int(self._ends[number] - track + 1) * _PLACE.itemsize
        with storage.open_file(FileSystems.join(self._output, _words_name(number))) as file:
            file.seek(-behind, 2)
            begin, end = np.frombuffer(file.read(2 * _PLACE.itemsize), _PLACE).tolist()
            file.seek(begin * _WORD.itemsize)
            return np.frombuffer(file.read((end - begin) * _WORD.itemsize), _WORD)


def write_analysis(output: str, number: int, heard: Sequence[Sound | Rejected]) -> None:
    """Keeps what was found out about each track of a batch."""
    lines = [
        json.dumps([isinstance(item, Sound), *(getattr(item, field.name) for field in dataclasses.fields(item))]) + "\n"
        for item in heard
    ]
    storage.write_text(output, analysis_name(number), "".join(lines))


def read_analysis(output: str, number: int) -> list[Sound | Rejected]:
    """Inverse of `write_analysis`."""
    return parse_analysis(storage.read_text(FileSystems.join(output, analysis_name(number))) or "")


def parse_analysis(text: str) -> list[Sound | Rejected]:
    """What the text of such a file says."""
    rows = [json.loads(line) for line in text.splitlines()]
    return [Sound(*values) if good else Rejected(*values) for good, *values in rows]


def analysis_name(number: int) -> str:
    """The file of `write_analysis` below the output."""
    return f"{PARTIAL_DIR}/heard-{number:05d}.jsonl"


def _words_name(number: int) -> str:
    return f"{PARTIAL_DIR}/words-{number:05d}.bin"


# Entries that wait to travel together.
_MAX_WAITING = 1 << 20


class AnalyzeTracks(beam.DoFn):
    """Batch as JSON -> (partition, block of hashes), after what was heard of the batch is kept in two files.

    The batch is the unit of retry: one that is done again writes the same files and yields the same blocks.
    """

    def __init__(self, config: JobConfig, partitions: int) -> None:
        self._config = config
        self._partitions = partitions
        # The audit takes what the job would take: the same shortest clip, at another rate.
        samples = (config.min_frames - 1) * config.front_end.hop_length
        self._min_samples = math.ceil(samples * RATE_HZ / config.front_end.sample_rate)
        self._fingerprinter = Fingerprinter()

    def setup(self) -> None:
        """Has the process as it should be for what this computes."""
        self._limits = write_shard.prepare_worker()

    def process(self, line: str) -> Iterator[tuple[int, bytes]]:
        """Listens to each track of a batch; yields at least one block, that every stage may have something to do.

        Raises:
          OutputError: the output cannot be written.
        """
        own = Batch.from_json(line)
        heard: list[Sound | Rejected] = []
        waiting: list[np.ndarray] = []
        ready: list[tuple[int, bytes]] = []

        def words() -> Iterator[np.ndarray]:
            for position, track in enumerate(own.shard.tracks):
                found, told = self._listen(track)
                heard.append(told)
                waiting.append(fingerprint.entries(own.first + position, found))
                if sum(map(len, waiting)) > _MAX_WAITING:
                    ready.extend(fingerprint.deal_entries(np.concatenate(waiting), self._partitions))
                    waiting.clear()
                yield found

        with writing_to(self._config.output):
            write_words(self._config.output, own.number, words())
            write_analysis(self._config.output, own.number, heard)
        _count(heard)
        yield 0, b""
        yield from ready
        if waiting:
            yield from fingerprint.deal_entries(np.concatenate(waiting), self._partitions)

    def _listen(self, track: Track) -> tuple[np.ndarray, Sound | Rejected]:
        measure = Measure()
        blocks = read_track(
            track,
            sample_rate=RATE_HZ,
            min_samples=self._min_samples,
            max_duration_s=self._config.max_duration_s,
            observe=measure,
        )
        try:
            words = self._fingerprinter(blocks)
            return words, measure.sound(words)
        except Reject as reject:
            uri = track.origin or track.uri
            return np.zeros(0, np.uint32), Rejected(track.track_id, uri, reject.reason, reject.detail)


def _count(heard: list[Sound | Rejected]) -> None:
    """Beam's own metrics, for whoever watches the job on an engine."""
    for item in heard:
        name = "tracks" if isinstance(item, Sound) else f"rejected_{item.reason}"
        Metrics.counter(NAMESPACE, name).inc()
