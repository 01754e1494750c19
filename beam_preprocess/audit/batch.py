"""Tracks in batches, the unit of work; and what a worker keeps of a batch in files, so that it need not travel."""

import dataclasses
import json
from collections.abc import Iterator, Sequence

import numpy as np
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.audit.sound import Sound
from beam_preprocess.plan import Plan, ShardPlan
from beam_preprocess.result import Rejected
from beam_preprocess.tracks import Track
from tfrecords.manifest import PARTIAL_DIR

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


def write_heard(output: str, number: int, heard: Sequence[Sound | Rejected]) -> None:
    """Keeps what was found out about each track of a batch."""
    lines = [
        json.dumps([isinstance(item, Sound), *(getattr(item, field.name) for field in dataclasses.fields(item))]) + "\n"
        for item in heard
    ]
    storage.write_text(output, heard_name(number), "".join(lines))


def read_heard(output: str, number: int) -> list[Sound | Rejected]:
    """Inverse of `write_heard`."""
    return parse_heard(storage.read_text(FileSystems.join(output, heard_name(number))) or "")


def parse_heard(text: str) -> list[Sound | Rejected]:
    """What the text of such a file says."""
    rows = [json.loads(line) for line in text.splitlines()]
    return [Sound(*values) if good else Rejected(*values) for good, *values in rows]


def heard_name(number: int) -> str:
    """The file of `write_heard` below the output."""
    return f"{PARTIAL_DIR}/heard-{number:05d}.jsonl"


def _words_name(number: int) -> str:
    return f"{PARTIAL_DIR}/words-{number:05d}.bin"
