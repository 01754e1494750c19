"""Which patches of a recording its genre is judged by: those that evaluation reads from the recording's records.

A trained job, ready to name the genre of audio files.

The decoder and front end are the preprocessing job's, the patches those that evaluation cuts: what a model says here of
a file is what trainer.evaluate says of its record, but for the record's rounding to float16.
"""

import dataclasses
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from beam_preprocess import audio
from beam_preprocess.audio import Reject
from beam_preprocess.audio.front_end import FrontEnd, FrontEndConfig, segment_lengths
from beam_preprocess.audio.measure import TrackMeasure, TrackSound
from tfrecords.common import command_line, json_data
from tfrecords.common.command_line import UserError
from trainer.training_job import TrainingJob

if TYPE_CHECKING:
    import keras


def patch_starts(frames: int, patch_frames: int) -> np.ndarray:
    """The frame at which each patch begins: one after the other, in each piece that is a record.

    What follows the last whole patch of a piece is left out. There is one piece, the recording, up to
    beam_preprocess.audio.front_end.MAX_RECORD_FRAMES.

    Args:
      frames: of the whole spectrogram.
      patch_frames: of a patch.

    Returns:
      [patches] int64, rising; empty where no piece holds a patch.
    """
    starts: list[int] = []
    first = 0
    for length in segment_lengths(frames):
        starts.extend(range(first, first + length - patch_frames + 1, patch_frames))
        first += length
    return np.array(starts, np.int64)


# As the preprocessing job's default.
MAX_DURATION_S = 6 * 3600.0
# Patches in a step of the model: enough for its speed, few enough for flat memory.
_BATCH = 256
# Notes on a file: it holds no sound at all; or hardly any is left in the mean of its channels, which is what is heard.
SILENT, CANCELLED = "silent", "channels cancel"


class DecodedTrack(NamedTuple):
    """An audio file as the front end hears it.

    Attributes:
      log_mel: [frames, mel_bands] float32.
      duration_s: of the audio.
      note: SILENT, CANCELLED or None.
    """

    log_mel: np.ndarray
    duration_s: float
    note: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Recognition:
    """What a model says of one file.

    Attributes:
      labels: label names.
      probabilities: [labels] float32, the mean over the patches; all 0 where there is no patch.
      timeline: [patches, labels] float32, at least one patch; of a silent file none, for it has no genre.
      starts_s: [patches] float64, where each patch begins.
      patch_s: length of a patch.
      duration_s: of the audio.
      log_mel: [frames, mel_bands] float32, of the whole file.
      note: SILENT, CANCELLED, or None where nothing is out of the ordinary.
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray
    timeline: np.ndarray
    starts_s: np.ndarray
    patch_s: float
    duration_s: float
    log_mel: np.ndarray
    note: str | None = None

    @property
    def label(self) -> str | None:
        """The genre: the label of the highest probability; None of a silent file."""
        return self.labels[int(self.probabilities.argmax())] if len(self.timeline) else None


class Recognizer:
    """A trained job, ready to name the genre of audio files. Threads may share one.

    Attributes:
      labels: label names; the model's outputs, in order.
      front_end: waveform -> log-mel.
      model: normalised patches -> probabilities.
      patch_frames: frames in a patch. A file shorter than one is rejected as too_short, as preprocessing does it:
        silence added to fill a patch would be music that nobody played.

    Raises:
      UserError: the model does not fit the job's configuration.
    """

    def __init__(self, job: TrainingJob, model: "keras.Model") -> None:
        self.labels = job.labels
        self.front_end = FrontEnd(front_end_config(job))
        self.patch_frames = job.patch_frames
        self.model = model
        # Keras builds a model's functions on first use, which threads must not do at once.
        self._one_at_a_time = threading.Lock()
        self._mean = job.statistics.mean.astype(np.float32)
        self._scale = 1 / job.statistics.scale.astype(np.float32)
        job.check_shapes(model)

    @classmethod
    def load(cls, job_dir: Path) -> "Recognizer":
        """The model of a job's best epoch.

        Raises:
          UserError: the directory holds no trained model, or a damaged one.
        """
        job = TrainingJob.load(job_dir)
        front_end_config(job)
        command_line.import_tensorflow()
        from trainer.evaluation.predictions import load_model

        return cls(job, load_model(job_dir))

    def recognize(self, file: BinaryIO, *, max_duration_s: float = MAX_DURATION_S) -> Recognition:
        """Names the genre of one audio file.

        Args:
          file: open for reading, seekable; any format, rate and channel count that beam_preprocess.audio reads.
          max_duration_s: more audio than this is rejected.

        Raises:
          Reject: the file cannot be used; with one of beam_preprocess.audio.REASONS.
        """
        return self.judge([self.hear(file, max_duration_s=max_duration_s)])[0]

    def hear(self, file: BinaryIO, *, max_duration_s: float = MAX_DURATION_S, name: str = "") -> DecodedTrack:
        """The first half of `recognize`, most of the work: decodes a file of this name and transforms it.

        Raises:
          Reject: the file cannot be used.
        """
        samples = 0

        def counted(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            nonlocal samples
            for block in blocks:
                samples += len(block)
                yield block

        rate = self.front_end.config.sample_rate
        measure = TrackMeasure()
        blocks = audio.stream(
            file,
            sample_rate=rate,
            min_samples=self.front_end.min_samples(self.patch_frames),
            max_duration_s=max_duration_s,
            name=name,
            observe=measure,
        )
        log_mel = np.concatenate(list(self.front_end.stream(counted(blocks))))
        if not len(patch_starts(len(log_mel), self.patch_frames)):
            raise Reject("too_short", f"no piece of it holds a patch of {self.patch_frames} frames")
        return DecodedTrack(log_mel, samples / rate, _note(measure.sound()))

    def judge(self, heard: Sequence[DecodedTrack]) -> list[Recognition]:
        """The second half of `recognize`, for many files at once: small files share a step of the model."""
        # What a model says of silence is chance, and sounds like knowledge.
        frames = [0 if one.note == SILENT else len(one.log_mel) for one in heard]
        starts = [patch_starts(number, self.patch_frames) for number in frames]
        where = [(one.log_mel, start) for one, own in zip(heard, starts, strict=True) for start in own]
        timelines = [np.zeros((0, len(self.labels)), np.float32)]
        timelines += [self._probabilities(where[at : at + _BATCH]) for at in range(0, len(where), _BATCH)]
        ends = np.cumsum([len(own) for own in starts])[:-1]
        timeline_of = np.split(np.concatenate(timelines), ends) if heard else []
        rate = self.front_end.config.frames_per_s
        return [
            Recognition(
                labels=self.labels,
                probabilities=(timeline.sum(axis=0, dtype=np.float64) / max(1, len(timeline))).astype(np.float32),
                timeline=timeline,
                starts_s=own / rate,
                patch_s=self.patch_frames / rate,
                duration_s=one.duration_s,
                log_mel=one.log_mel,
                note=one.note,
            )
            for one, own, timeline in zip(heard, starts, timeline_of, strict=True)
        ]

    def _probabilities(self, where: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
        """Patches, each a spectrogram and the frame it begins at -> [patches, labels] float32."""
        import keras

        patches = np.stack([log_mel[start : start + self.patch_frames] for log_mel, start in where])
        patches = (patches - self._mean) * self._scale
        with self._one_at_a_time:
            probabilities = self.model.predict_on_batch(patches[..., np.newaxis])
        return keras.ops.convert_to_numpy(probabilities).astype(np.float32)


def _note(sound: TrackSound) -> str | None:
    if sound.silent:
        return SILENT
    return CANCELLED if sound.cancels else None


def front_end_config(job: TrainingJob) -> FrontEndConfig:
    """The front end of a job's dataset.

    Raises:
      UserError: the job names one that this version does not have.
    """
    try:
        return json_data.build(FrontEndConfig, dict(job.front_end))
    except ValueError as error:
        raise UserError(
            f"the job's front end is not one of this version ({error}); preprocess and train again"
        ) from None
