"""A worker listens to a batch of tracks: one decoding of each gives its measures and its fingerprint."""

import math
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from beam_preprocess import worker
from beam_preprocess.audio import Reject
from beam_preprocess.audit import batch, sharing
from beam_preprocess.audit.batch import Batch
from beam_preprocess.audit.fingerprint import RATE_HZ, Fingerprinter
from beam_preprocess.audit.sound import Measure, Sound
from beam_preprocess.config import JobConfig
from beam_preprocess.output_error import writing_to
from beam_preprocess.result import Rejected
from beam_preprocess.tracks import Track
from beam_preprocess.write_shard import NAMESPACE, read_track

# Entries that wait to travel together.
_MAX_WAITING = 1 << 20


class Listen(beam.DoFn):
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
        self._limits = worker.prepare()

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
                waiting.append(sharing.entries(own.first + position, found))
                if sum(map(len, waiting)) > _MAX_WAITING:
                    ready.extend(sharing.deal_entries(np.concatenate(waiting), self._partitions))
                    waiting.clear()
                yield found

        with writing_to(self._config.output):
            batch.write_words(self._config.output, own.number, words())
            batch.write_heard(self._config.output, own.number, heard)
        _count(heard)
        yield 0, b""
        yield from ready
        if waiting:
            yield from sharing.deal_entries(np.concatenate(waiting), self._partitions)

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
