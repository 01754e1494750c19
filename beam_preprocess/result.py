"""What a worker reports of one shard: all that the manifest needs, mergeable, and kept beside an unfinished job."""

import dataclasses
import json
from collections.abc import Mapping

from beam_preprocess.label_sound import LabelSound
from tfrecords import json_data
from tfrecords.manifest import Shard
from tfrecords.statistics import BandStatistics


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """One line of rejects.jsonl.

    Attributes:
      track_id: of the input that could not be used.
      uri: where it lies.
      reason: one of beam_preprocess.audio.REASONS.
      detail: what was found.
    """

    track_id: str
    uri: str
    reason: str
    detail: str

    def to_json(self) -> str:
        """One line of ASCII."""
        return json.dumps(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """One shard that was written; its size depends on the number of tracks only by `contents` and `rejects`.

    Attributes:
      part: the part it belongs to.
      fingerprint: of the plan it was written by.
      shard: the file.
      tracks: tracks per label name.
      record_frames: frames of a record -> records.
      statistics: per band, before rounding.
      contents: track_id -> hash of the track's records; equal hashes are the same audio.
      rejects: inputs that could not be used.
      sound: label name -> what its tracks have in common that is not music.
      audio_s: seconds of audio in the records.
      work_s: seconds of the worker's time by activity.
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
        """One line of ASCII."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data["shard"] = dataclasses.asdict(self.shard)
        data["statistics"] = self.statistics.to_json()
        data["rejects"] = [dataclasses.asdict(reject) for reject in self.rejects]
        data["sound"] = {label: sound.to_json() for label, sound in self.sound.items()}
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> "ShardResult":
        """Inverse of `to_json`.

        Raises:
          ValueError: the text is something else.
        """
        return json_data.build(cls, json_data.parse(text))
