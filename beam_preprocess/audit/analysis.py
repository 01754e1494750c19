"""What a worker finds out about the tracks of a shard, and the files in which it keeps that.

One decoding of each track gives its measures and its fingerprint. From here on, only hashes and numbers of tracks
travel.
"""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import google_crc32c
import numpy as np

from beam_preprocess import storage
from beam_preprocess.audio import Block, Reject
from beam_preprocess.audio.measure import TrackMeasure, TrackSound
from beam_preprocess.audit import fingerprint
from beam_preprocess.audit.fingerprint import RATE_HZ, Fingerprinter
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.plan import Plan, ShardPlan
from beam_preprocess.shards import MakeShard, Rejected, ShardFile, attempt_file, read_track, sidecar
from beam_preprocess.storage import reading_from

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


def tracks_of(plan: Plan) -> list[tuple[Track, str]]:
    """Return each track and its part, in the order of the tracks' numbers."""
    return [(track, shard.part) for shard in plan.shards for track in shard.tracks]


@dataclasses.dataclass(frozen=True)
class AnalyzedShard:
    """What a worker reports of a shard of fingerprints.

    Attributes:
      fingerprint: of the shard's plan.
      shard: the file of fingerprints.
      analyses: what was found out about each of its tracks, in order.
    """

    fingerprint: str
    shard: ShardFile
    analyses: tuple[AnalyzedTrack | Rejected, ...]

    @property
    def rejects(self) -> tuple[Rejected, ...]:
        """Inputs that cannot be used."""
        return tuple(item for item in self.analyses if isinstance(item, Rejected))

    @property
    def num_tracks(self) -> int:
        """Number of the others."""
        return len(self.analyses) - len(self.rejects)

    @property
    def audio_s(self) -> float:
        """Seconds of audio of these."""
        return sum(item.duration_s for item in self.analyses if isinstance(item, AnalyzedTrack))

    @property
    def work_s(self) -> Mapping[str, float]:
        """Nothing: an audit does not tell where its time goes."""
        return {}

    def to_json(self) -> str:
        """Return one line of ASCII."""
        rows = [[isinstance(item, AnalyzedTrack), dataclasses.asdict(item)] for item in self.analyses]
        return json.dumps([self.fingerprint, dataclasses.asdict(self.shard), rows])

    @classmethod
    def from_json(cls, text: str) -> "AnalyzedShard":
        """Return the result that `to_json` wrote.

        Raises:
          ValueError: the text is something else.
        """
        try:
            fingerprint, shard, rows = json.loads(text)
            analyses = (AnalyzedTrack(**fields) if usable else Rejected(**fields) for usable, fields in rows)
            return cls(fingerprint, ShardFile(**shard), tuple(analyses))
        except TypeError as error:
            raise ValueError(str(error)) from None


class WordReader:
    """Reads single fingerprints of the shards of an audit.

    Args:
      output: of the audit.
      files: names of the shards, in order.
      sizes: tracks of each.
    """

    def __init__(self, output: str, files: Sequence[str], sizes: Sequence[int]) -> None:
        self._output = output
        self._files = files
        self._ends = np.cumsum(sizes)
        self._uris: dict[int, str] = {}

    def __call__(self, track: int) -> np.ndarray:
        """Return the words of the track of that number, [frames] uint32.

        Raises:
          OutputError: its file cannot be read.
        """
        shard = int(np.searchsorted(self._ends, track, "right"))
        # From the end of the file: a place for each further track of the shard, and for this one and the end.
        behind = int(self._ends[shard] - track + 1) * _PLACE.itemsize
        with reading_from(storage.join(self._output, sidecar(self._files[shard]))):
            uri = self._uri(shard)
        with reading_from(uri), storage.open_file(uri) as file:
            file.seek(-behind, 2)
            begin, end = np.frombuffer(file.read(2 * _PLACE.itemsize), _PLACE).tolist()
            file.seek(begin * _WORD.itemsize)
            return np.frombuffer(file.read((end - begin) * _WORD.itemsize), _WORD)

    def _uri(self, shard: int) -> str:
        """Return where the attempt at a shard is whose result was kept last."""
        if shard not in self._uris:
            with storage.open_file(storage.join(self._output, sidecar(self._files[shard]))) as file:
                kept = AnalyzedShard.from_json(file.read().decode("utf-8"))
            self._uris[shard] = attempt_file(self._output, kept.shard)
        return self._uris[shard]


def read_words(uri: str, tracks: int) -> Iterator[np.ndarray]:
    """Yield the fingerprints in the file of a shard of so many tracks, [frames] uint32 each."""
    with storage.open_file(uri) as file:
        data = file.read()
    places = np.frombuffer(data[len(data) - (tracks + 1) * _PLACE.itemsize :], _PLACE).tolist()
    for begin, end in itertools.pairwise(places):
        yield np.frombuffer(data, _WORD, end - begin, begin * _WORD.itemsize)


class AnalyzeTracks(MakeShard):
    """ShardPlan as JSON -> (partition, block of hashes), after the shard's fingerprints and measures are written.

    Args:
      config: of the job whose input is audited.
      partitions: number of them.
      firsts: shard -> number of its first track; tracks are numbered from 0 over all shards.
    """

    def __init__(self, config: JobConfig, partitions: int, firsts: Mapping[str, int]) -> None:
        super().__init__(config.output, AnalyzedShard)
        self._config = config
        self._partitions = partitions
        self._firsts = firsts
        # The shortest clip that the preprocessing job would take, at another rate.
        samples = (config.min_frames - 1) * config.front_end.hop_length
        self._min_samples = math.ceil(samples * RATE_HZ / config.front_end.sample_rate)
        self._fingerprinter = Fingerprinter()

    def write(self, plan: ShardPlan, file: IO[bytes]) -> AnalyzedShard:
        """Write the fingerprints, one after another, then where each begins and the last one ends."""
        places = [0]
        checksum = hashlib.sha256()
        analyses: list[AnalyzedTrack | Rejected] = []

        def write(data: bytes) -> None:
            file.write(data)
            checksum.update(data)

        for track in plan.tracks:
            words, analyzed = self._analyze(track)
            write(words.astype(_WORD).tobytes())
            places.append(places[-1] + len(words))
            analyses.append(analyzed)
        write(np.array(places, _PLACE).tobytes())
        size = places[-1] * _WORD.itemsize + len(places) * _PLACE.itemsize
        shard = ShardFile(plan.file, len(analyses), size, checksum.hexdigest())
        return AnalyzedShard(plan.fingerprint, shard, tuple(analyses))

    def report(self, plan: ShardPlan, result: AnalyzedShard) -> Iterator[tuple[int, bytes]]:
        """Yield the hashes of a shard's tracks; at least one block, so that no later stage is empty."""
        yield 0, b""
        waiting: list[np.ndarray] = []
        uri = attempt_file(self._config.output, result.shard)
        with reading_from(uri):
            all_words = list(read_words(uri, len(plan.tracks)))
        for number, words in enumerate(all_words, self._firsts[plan.file]):
            waiting.append(fingerprint.entries(number, words))
            # Entries do not wait for the end of a shard.
            if sum(map(len, waiting)) > _MAX_WAITING:
                yield from fingerprint.deal_entries(np.concatenate(waiting), self._partitions)
                waiting.clear()
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
            return np.zeros(0, np.uint32), Rejected.of(track, reject)
