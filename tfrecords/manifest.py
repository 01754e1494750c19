"""manifest.json, the file that makes a directory a dataset: labels, front end, parts, shards and statistics.

It is written last, so a directory without it holds no finished dataset.
"""

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfrecords import storage
from tfrecords.common import json_data
from tfrecords.common.command_line import UserError
from tfrecords.schema import DTYPES, FEATURES, Record, decode

FILE_NAME = "manifest.json"
# Holds what an unfinished job needs to resume; removed once the manifest is written.
PARTIAL_DIR = ".partial"
FORMAT_VERSION = 1
# Standard deviation, in log10 units or dB, below which a band counts as silent.
_SILENT_STD = 1e-3
_LENGTHS = re.compile(r"([1-9][0-9]{0,17})(?:x([1-9][0-9]{0,9}))?")


def count_patches(frames: int, *, patch_frames: int, patch_hop: int) -> int:
    """Return how many patches a record of so many frames is cut into.

    Example:
      >>> count_patches(250, patch_frames=80, patch_hop=80)
      3
    """
    return max(0, (frames - patch_frames) // patch_hop + 1)


def lengths_text(frames: Iterable[int]) -> str:
    """Return the lengths of a shard's records as text, equal ones next to each other as LENGTHxNUMBER.

    Example:
      >>> lengths_text([80, 80, 80, 22])
      '80x3 22'
    """
    runs = ((length, len(list(run))) for length, run in itertools.groupby(frames))
    return " ".join(str(length) if count == 1 else f"{length}x{count}" for length, count in runs)


@dataclasses.dataclass(frozen=True)
class BandStatistics:
    """Mean and variance per mel band, which merge exactly over any union of parts (Chan, Golub and LeVeque 1979).

    Attributes:
      count: number of frames.
      mean: [mel_bands] float64.
      m2: [mel_bands] float64, the sum over frames of (x - mean)^2.

    Raises:
      ValueError: mean and m2 differ in shape, or a count or a sum of squares is below 0.

    Example:
      >>> one, other = (BandStatistics.of(np.full((frames, 2), frames / 2)) for frames in (2, 6))
      >>> both = one.merge(other)
      >>> both.count, both.mean.tolist(), both.variance.tolist()
      (8, [2.5, 2.5], [0.75, 0.75])
    """

    count: int
    mean: np.ndarray
    m2: np.ndarray

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.m2.shape:
            raise ValueError(f"mean and m2 must be [mel_bands] each, got {self.mean.shape} and {self.m2.shape}")
        if self.count < 0 or (self.m2 < 0).any():
            raise ValueError(f"count and m2 must be at least 0, got {self.count} and {min(self.m2, default=0)}")

    @classmethod
    def empty(cls, mel_bands: int) -> "BandStatistics":
        """Return the statistics of no frames."""
        return cls(0, np.zeros(mel_bands), np.zeros(mel_bands))

    @classmethod
    def of(cls, log_mel: np.ndarray) -> "BandStatistics":
        """Return the statistics of one spectrogram, [frames, mel_bands] of any float type, summed in float64."""
        if not len(log_mel):
            return cls.empty(log_mel.shape[1])
        values = log_mel.astype(np.float64)
        mean = values.mean(axis=0)
        values -= mean
        return cls(len(values), mean, np.einsum("fb,fb->b", values, values))

    @classmethod
    def merged(cls, statistics: Iterable["BandStatistics"], mel_bands: int) -> "BandStatistics":
        """Return the statistics of a union, merged in the order given, so that the same parts give the same bits."""
        total = cls.empty(mel_bands)
        for other in statistics:
            total = total.merge(other)
        return total

    def merge(self, other: "BandStatistics") -> "BandStatistics":
        """Return the statistics of both sets of frames together."""
        count = self.count + other.count
        if not count:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        m2 = self.m2 + other.m2 + delta * delta * (self.count * other.count / count)
        return BandStatistics(count, mean, m2)

    @property
    def variance(self) -> np.ndarray:
        """Population variance per band, [mel_bands] float64; zeros where there are no frames."""
        return self.m2 / max(self.count, 1)

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation per band, [mel_bands] float64."""
        return np.sqrt(self.variance)

    @property
    def scale(self) -> np.ndarray:
        """Divisor that normalises each band, [mel_bands] float64: `std`, or 1 where a band is silent.

        A deviation below a thousandth of a log10 unit or a decibel is what rounding and resampling leave of silence;
        divided by it, the first sound in that band would outweigh all other bands.
        """
        return np.where(self.std < _SILENT_STD, 1.0, self.std)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and numbers; Python prints floats so that they read back to the same bits."""
        return {"count": self.count, "mean": self.mean.tolist(), "m2": self.m2.tolist()}


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Attributes:
      file: its name in the dataset's directory.
      records: number of records.
      frames: number of spectrogram frames over all records.
      bytes: size of the file.
      sha256: hexadecimal checksum of the file.
      lengths: frames of each record, in order, as `lengths_text` writes them: where patches lie is known before any
        shard is read. Empty in what earlier versions wrote.

    Raises:
      ValueError: file is not a plain file name, a number is below 0, or sha256 is not a SHA-256.
    """

    file: str
    records: int
    frames: int
    bytes: int
    sha256: str
    lengths: str = ""

    def __post_init__(self) -> None:
        if not self.file or "/" in self.file or "\0" in self.file or self.file in (".", ".."):
            raise ValueError(f"file must be a name in the dataset's directory, got {self.file!r}")
        for name in ("records", "frames", "bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, got {self.sha256!r}")

    def record_frames(self) -> np.ndarray | None:
        """Return the number of frames of each record, [records] int64; None where `lengths` does not say.

        Raises:
          ValueError: `lengths` does not agree with `records` and `frames`.

        Example:
          >>> Shard("a", records=4, frames=262, bytes=9, sha256="0" * 64, lengths="80x3 22").record_frames().tolist()
          [80, 80, 80, 22]
        """
        if not self.lengths:
            return None if self.records else np.zeros(0, np.int64)
        runs = [_LENGTHS.fullmatch(run) for run in self.lengths.split(" ")]
        pairs = [(int(run[1]), int(run[2] or 1)) for run in runs if run]
        counts = sum(count for _, count in pairs), sum(frames * count for frames, count in pairs)
        if len(pairs) < len(runs) or counts != (self.records, self.frames):
            raise ValueError(
                f"the lengths of {self.file!r} are not those of {self.records} records of {self.frames} frames"
            )
        frames, times = np.array(pairs, np.int64).T
        return np.repeat(frames, times)


@dataclasses.dataclass(frozen=True)
class Part:
    """A physical set of shards; splits are unions of parts.

    Attributes:
      shards: in order.
      tracks: tracks per label name; a label that the part lacks counts 0.
      record_frames: length of a record in frames -> number of such records, from which patches of any size are counted.
      statistics: per band, before rounding to the records' dtype.

    Raises:
      ValueError: the counts do not agree.
    """

    shards: tuple[Shard, ...]
    tracks: Mapping[str, int]
    record_frames: Mapping[int, int]
    statistics: BandStatistics

    def __post_init__(self) -> None:
        if min(self.tracks.values(), default=0) < 0:
            raise ValueError(f"tracks must be at least 0 of each label, got {min(self.tracks.values())}")
        if min(self.record_frames, default=1) < 1 or min(self.record_frames.values(), default=1) < 1:
            raise ValueError("record_frames must be whole numbers from 1, each at least once")
        frames = sum(frames * count for frames, count in self.record_frames.items())
        for what, found, stated in (
            ("record_frames are of {} records, the shards of {}", sum(self.record_frames.values()), self.records),
            ("record_frames are {} frames, the shards' {}", frames, sum(shard.frames for shard in self.shards)),
            ("statistics are of {} frames, the shards of {}", self.statistics.count, frames),
        ):
            if found != stated:
                raise ValueError(what.format(found, stated))
        # A long track may have several records.
        if sum(self.tracks.values()) > self.records:
            raise ValueError(f"there are {sum(self.tracks.values())} tracks in {self.records} records")

    @property
    def records(self) -> int:
        """Number of records in the part."""
        return sum(shard.records for shard in self.shards)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json; the same input and configuration always give the same manifest.

    Attributes:
      name: the dataset's name, with which its shards' names begin.
      labels: label names; a record's label is an index into them.
      front_end: the front end's configuration, as beam_preprocess.audio.front_end.FrontEndConfig has it.
      dtype: of log_mel in the records, "float16" or "float32".
      parts: part name -> part.
      split: how tracks were assigned to parts: the method and its settings, the number of groups, whether groups were
        given (otherwise each track is a group), and whether no group is in two parts.
      rejects: reason -> number of inputs that could not be used; rejects.jsonl lists them.
      fingerprint: hash of the configuration and the track list.
      versions: versions of the libraries that affect the shards' bytes.
      duplicates: for each recording that occurs more than once, the track_ids of its copies.

    Raises:
      ValueError: a field has a wrong value, or fields do not agree.

    Example::

      manifest = tfrecords.Manifest.load("DATA")
      train = [part for part in manifest.parts if part != "fold_9"]
      manifest.num_patches(train, patch_frames=80, patch_hop=80), manifest.statistics(train).mean
    """

    name: str
    labels: tuple[str, ...]
    front_end: Mapping[str, Any]
    dtype: str
    parts: Mapping[str, Part]
    split: Mapping[str, Any]
    rejects: Mapping[str, int]
    fingerprint: str
    versions: Mapping[str, str]
    duplicates: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if not self.labels or "" in self.labels or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels must be different names, at least one, got {list(self.labels)}")
        for name in ("n_mels", "sample_rate", "hop_length"):
            value = self.front_end.get(name)
            if type(value) is not int or value < 1:
                raise ValueError(f"front_end.{name} must be a whole number from 1, got {value!r}")
        for name in ("grouped", "group_safe"):
            if not isinstance(self.split.get(name, False), bool):
                raise ValueError(f"split.{name} must be true or false, got {self.split[name]!r}")
        if min(self.rejects.values(), default=0) < 0:
            raise ValueError(f"rejects must be at least 0 of each reason, got {min(self.rejects.values())}")
        self._check_parts()

    def _check_parts(self) -> None:
        if not self.parts:
            raise ValueError("parts must have at least one")
        names = [shard.file for part in self.parts.values() for shard in part.shards]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"the shard {twice[0]!r} is there twice")
        frame_bytes = self.mel_bands * DTYPES[self.dtype].itemsize
        for name, part in self.parts.items():
            if part.tracks.keys() != set(self.labels):
                raise ValueError(f"parts.{name}.tracks must name each label, and no other")
            if (bands := len(part.statistics.mean)) != self.mel_bands:
                raise ValueError(f"the statistics of {name} have {bands} bands, not {self.mel_bands}")
            for shard in part.shards:
                if shard.frames * frame_bytes > shard.bytes:
                    raise ValueError(f"the shard {shard.file!r} is too small for its {shard.frames} frames")

    @property
    def mel_bands(self) -> int:
        """Number of mel bands of every record."""
        return int(self.front_end["n_mels"])

    @property
    def frames_per_s(self) -> float:
        """Spectrogram frames per second of audio."""
        return self.front_end["sample_rate"] / self.front_end["hop_length"]

    def decode(self, serialized: bytes, *, any_label: bool = False) -> Record:
        """Decode one record of the dataset.

        Args:
          serialized: a tf.train.Example.
          any_label: accept a label that is none of the dataset's.

        Raises:
          ValueError: as `tfrecords.schema.decode`, or as `check_label`.
        """
        record = decode(serialized, mel_bands=self.mel_bands, dtype=self.dtype)
        if not any_label:
            self.check_label(record.label)
        return record

    def check_label(self, label: int) -> None:
        """Raise ValueError if a record's label is none of the dataset's."""
        if not 0 <= label < len(self.labels):
            raise ValueError(f"label {label} is none of the {len(self.labels)} labels")

    def select(self, parts: Iterable[str]) -> tuple[str, ...]:
        """Return the given parts in the manifest's order; all of them for ("all",).

        Raises:
          UserError: a part is not in the dataset, or none is given.
        """
        wanted = {parts} if isinstance(parts, str) else set(parts)
        if wanted == {"all"}:
            wanted = set(self.parts)
        if unknown := sorted(wanted - set(self.parts)):
            raise UserError(f"the dataset has no part {unknown[0]!r}; it has {', '.join(self.parts)}")
        if not wanted:
            raise UserError(f"no part was named; the dataset has {', '.join(self.parts)}")
        return tuple(part for part in self.parts if part in wanted)

    def statistics(self, parts: Iterable[str]) -> BandStatistics:
        """Return the statistics over a union of parts; those of the training parts normalise all data."""
        return BandStatistics.merged((self.parts[part].statistics for part in self.select(parts)), self.mel_bands)

    def tracks(self, parts: Iterable[str]) -> dict[str, int]:
        """Return the number of tracks of each label in a union of parts."""
        total = Counter(dict.fromkeys(self.labels, 0))
        for part in self.select(parts):
            total.update(self.parts[part].tracks)
        return dict(total)

    def num_patches(self, parts: Iterable[str], *, patch_frames: int, patch_hop: int) -> int:
        """Return how many patches a union of parts is cut into; a remainder shorter than a patch gives none."""
        return sum(
            count * count_patches(frames, patch_frames=patch_frames, patch_hop=patch_hop)
            for part in self.select(parts)
            for frames, count in self.parts[part].record_frames.items()
        )

    def to_json(self) -> str:
        """Return the file's text; equal manifests give equal texts."""
        data: dict[str, Any] = {"format_version": FORMAT_VERSION}
        for field in dataclasses.fields(self):
            data[field.name] = getattr(self, field.name)
        data["features"] = FEATURES
        data["parts"] = {name: _part_to_json(part) for name, part in self.parts.items()}
        return json.dumps(data, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> "Manifest":
        """Parse the text of a manifest; `where` names the file in errors.

        Raises:
          UserError: the text is not a manifest, or has another format version.
        """
        try:
            data = json_data.parse(text)
            if isinstance(data, dict):
                if "format_version" not in data:
                    raise ValueError("format_version is missing")
                version = data["format_version"]
                if type(version) is not int or version != FORMAT_VERSION:
                    raise UserError(
                        f"{where}: format version {version} is not {FORMAT_VERSION}, the one that this program reads; "
                        "write the dataset again"
                    )
            return json_data.build(cls, data, more=True)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{where}: not a manifest ({error}); write the dataset again") from None

    @classmethod
    def load(cls, data_dir: storage.Location) -> "Manifest":
        """Read the manifest in a dataset's directory, here or in a store.

        Raises:
          UserError: there is no manifest, it cannot be read, or it is damaged.
        """
        path = storage.join(data_dir, FILE_NAME)
        try:
            text = storage.read_text(path)
        except UnicodeDecodeError:
            raise UserError(f"{path}: not a manifest (not UTF-8 text); write the dataset again") from None
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(_missing(data_dir)) from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        return cls.from_json(text, path)


def _missing(data_dir: storage.Location) -> str:
    """Return why a directory holds no manifest, and what to do."""
    try:
        if storage.size(data_dir) is not None:
            return f"{data_dir}: a file, not the directory of a dataset"
        if not storage.is_directory(data_dir):
            return f"{data_dir}: no such directory; write a dataset there with beam_preprocess"
        if storage.is_directory(storage.join(data_dir, PARTIAL_DIR)):
            return f"{data_dir}: an unfinished dataset; run the command that began it again, it keeps what is done"
    except OSError as error:
        return f"{data_dir} cannot be read: {error.strerror}"
    return f"{data_dir}: no {FILE_NAME}, so this is no dataset; write one with beam_preprocess"


def _part_to_json(part: Part) -> dict[str, Any]:
    return {
        "tracks": dict(part.tracks),
        "record_frames": {str(frames): part.record_frames[frames] for frames in sorted(part.record_frames)},
        "statistics": part.statistics.to_json(),
        "shards": [dataclasses.asdict(shard) for shard in part.shards],
    }
