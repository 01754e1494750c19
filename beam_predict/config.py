"""The configuration of a job that names a collection, checked before anything is read."""

import dataclasses

from beam_preprocess.audio.front_end import FrontEndConfig
from beam_preprocess.config import JobConfig
from tfrecords.common.command_line import UserError


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """A job that names every track of a collection.

    Attributes:
      source: folder, glob, CSV or archive of audio; its labels, if it has any, are not used.
      output: directory of the predictions.
      model_dir: directory of a trained job, or of an exported model.
      embedding: whether to write each track's embedding, the mean of what goes into the model's last layer.
      num_shards: number of files; None: depends on the number of tracks.
      max_duration_s: longer audio is rejected.
      max_reject_fraction: the job fails if a larger share of the tracks is rejected, or all are.
      max_archive_bytes: an archive that unpacks to more is refused.

    Raises:
      UserError: a field is out of range; the message names it.

    Example:
      >>> PredictConfig(source="music", output="OUT", model_dir="JOB").embedding
      False
    """

    source: str
    output: str
    model_dir: str
    embedding: bool = False
    num_shards: int | None = None
    max_duration_s: float = 6 * 3600.0
    max_reject_fraction: float = 1.0
    max_archive_bytes: int = 50 * 10**9

    def __post_init__(self) -> None:
        if not self.model_dir:
            raise UserError("`model_dir` must be a directory of a trained job or of an exported model")
        self.job(FrontEndConfig(), 1)

    def job(self, front_end: FrontEndConfig, min_frames: int) -> JobConfig:
        """Return what the job has in common with the preprocessing job.

        Args:
          front_end: of the model.
          min_frames: of the shortest audio that the model can hear.
        """
        return JobConfig(
            source=self.source,
            output=self.output,
            name="predictions",
            front_end=front_end,
            needs_labels=False,
            num_shards=self.num_shards,
            min_frames=min_frames,
            max_duration_s=self.max_duration_s,
            max_reject_fraction=self.max_reject_fraction,
            max_archive_bytes=self.max_archive_bytes,
        )
