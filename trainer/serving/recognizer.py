"""A trained job that names the genre of audio files.

Decoder and front end are those of the preprocessing job, and patches are cut as trainer.evaluate cuts them: both give a
recording the same probabilities, up to the rounding of its records to float16.
"""

import dataclasses
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from beam_preprocess import audio
from beam_preprocess.audio import Reject
from beam_preprocess.audio.front_end import PRESETS, FrontEnd, FrontEndConfig, segment_lengths
from beam_preprocess.audio.measure import TrackMeasure, TrackSound
from tfrecords.common import command_line, json_data
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics
from trainer import job_store, models
from trainer.config import RESIZE, TrainConfig
from trainer.evaluation.confidence import FAMILIARITY_FILE, Answer, Confidence, Familiarity, load_confidence
from trainer.training.resume import tell_unfinished
from trainer.training_job import PartChoice, TrainingJob

if TYPE_CHECKING:
    import keras

# As the preprocessing job's default.
MAX_DURATION_S = 6 * 3600.0
# Notes on a track: it is silent, or its channels cancel, so that hardly anything is left in their mean.
SILENT, CANCELLED = "silent", "channels cancel"
# Patches per step of the model: enough for full speed, few enough that memory does not grow with the recording.
_BATCH = 256


class DecodedTrack(NamedTuple):
    """The spectrogram of an audio file.

    Attributes:
      log_mel: [frames, mel_bands] float32.
      duration_s: length of the audio.
      note: SILENT, CANCELLED or None.
    """

    log_mel: np.ndarray
    duration_s: float
    note: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Recognition:
    """The genre of an audio file, as a whole and over time.

    Attributes:
      labels: label names.
      probabilities: [labels] float32, the mean over the patches; all 0 where there is no patch.
      timeline: [patches, labels] float32, at least one patch; a silent file has none, and no genre.
      starts_s: [patches] float64, where each patch begins.
      patch_s: length of a patch; of the first one, where each is a whole piece of the recording.
      duration_s: length of the audio.
      log_mel: [frames, mel_bands] float32, of the whole file.
      note: SILENT, CANCELLED or None.
      genres: those of the labels that are genres, where the labels are tags of any kind; None: all are.
      answer: what the probabilities are worth; None where the model does not tell, or there is no patch.
      distance: from the training tracks (see Familiarity); None where it is not measured.
      units: [patches, units] float32, what goes into the model's last layer; None unless they were asked for.
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray
    timeline: np.ndarray
    starts_s: np.ndarray
    patch_s: float
    duration_s: float
    log_mel: np.ndarray
    note: str | None = None
    genres: tuple[str, ...] | None = None
    answer: Answer | None = None
    distance: float | None = None
    units: np.ndarray | None = None

    @property
    def label(self) -> str | None:
        """The genre with the highest probability; None for a silent file."""
        if not len(self.timeline):
            return None
        chances = dict(zip(self.labels, self.probabilities, strict=True))
        return max(self.genres or self.labels, key=chances.__getitem__)

    @property
    def calibrated(self) -> np.ndarray:
        """[labels]: the probabilities that can be taken at their word where the model tells them, else its own."""
        return self.probabilities if self.answer is None else self.answer.probabilities

    @property
    def probability(self) -> float:
        """The probability of `label`, of `calibrated`; 0 for a silent file."""
        return 0.0 if self.label is None else float(self.calibrated[self.labels.index(self.label)])

    @property
    def label_set(self) -> tuple[str, ...]:
        """The labels of the prediction set, the likeliest first; without one, `label` alone."""
        if self.answer is None:
            return () if self.label is None else (self.label,)
        return self.answer.label_set(self.labels)

    @property
    def embedding(self) -> np.ndarray | None:
        """The mean of the units over the patches, [units] float32; None for a silent file, or without units."""
        if self.units is None or not len(self.units):
            return None
        return self.units.mean(axis=0, dtype=np.float64).astype(np.float32)


class Recognizer:
    """A trained job that names the genre of audio files. Threads may share one.

    Attributes:
      job: configuration of the training job.
      labels: label names; the model's outputs, in order.
      front_end: waveform -> log-mel.
      model: normalised patches -> probabilities.
      genres: as in Recognition.
      confidence: what its answers are worth; None where that was not fitted.
      familiarity: measures how far patches lie from those of the training tracks; None as before.
      patch_frames: frames in a patch. As in preprocessing, a file shorter than a patch is rejected as too_short and not
        padded with silence; a job with patch_mode "resize" stretches it instead.
      num_units: how many units a recognition holds for each patch; 0: none.

    Raises:
      UserError: this version has no such front end.

    Example::

      recognizer = trainer.Recognizer.load(Path("JOB"))
      with open("song.mp3", "rb") as file:
          recognition = recognizer.recognize(file)
      print(recognition.label, recognition.probabilities)
    """

    confidence: Confidence | None = None
    familiarity: Familiarity | None = None
    num_units = 0
    _keeps_units = False

    def __init__(
        self,
        job: TrainingJob,
        model: "keras.Model",
        *,
        genres: tuple[str, ...] | None = None,
        confidence: Confidence | None = None,
        familiarity: Familiarity | None = None,
        with_units: bool = False,
    ) -> None:
        self.job = job
        self.genres = genres
        self.confidence, self.familiarity = confidence, familiarity
        self.labels = job.labels
        self.front_end = FrontEnd(front_end_config(job))
        self.patch_frames = job.patch_frames
        self.model = model
        self._keeps_units = with_units
        needs_units = with_units or familiarity is not None
        self._network, self.num_units = _network_with_units(model) if needs_units else (model, 0)
        # Keras builds a model's functions on first use, which two threads must not do at once.
        self._model_lock = threading.Lock()
        self._mean = job.statistics.mean.astype(np.float32)
        self._scale = 1 / job.statistics.scale.astype(np.float32)

    @classmethod
    def load(cls, job_dir: Path, job: TrainingJob | None = None) -> "Recognizer":
        """Load the model that a job keeps.

        Args:
          job_dir: directory of the job.
          job: its configuration, where the caller has already read it.

        Raises:
          UserError: the directory holds no trained model, or a damaged one.
        """
        job = job or TrainingJob.load(job_dir)
        # Checked before TensorFlow is imported, which takes seconds.
        front_end_config(job)
        command_line.import_tensorflow()
        from trainer.evaluation.predictions import load_model

        confidence, familiarity = load_confidence(job_dir)
        model = load_model(job_dir, job)
        if familiarity is not None and model.layers[-1].input.shape[-1] != len(familiarity.axes):
            raise UserError(f"{job_dir / FAMILIARITY_FILE} is of another model; train again")
        return cls(job, model, confidence=confidence, familiarity=familiarity)

    @classmethod
    def published(cls) -> "Recognizer":
        """Load the pretrained network as it was published: it names tags, and needs no training.

        Raises:
          UserError: the package that holds its weights is not installed.
        """
        command_line.import_tensorflow()
        from trainer.models import musicnn

        config = PRESETS[models.PRETRAINED]
        job = TrainingJob(
            **vars(TrainConfig.by_recipe(model=models.PRETRAINED)),
            data_dir="",
            fingerprint="",
            parts=PartChoice((), (), ()),
            labels=musicnn.TAGS,
            front_end=dataclasses.asdict(config),
            statistics=BandStatistics(1, np.zeros(config.n_mels), np.ones(config.n_mels)),
            versions={},
        )
        return cls(job, musicnn.tagger(), genres=musicnn.GENRE_TAGS)

    def with_units(self) -> "Recognizer":
        """Return a recognizer of the same model whose recognitions hold its units as well.

        The published network hears the gain of a recording, which two copies of it may not share. For units all patches
        are brought to one loudness, and so the tags of such a recognizer are not quite those of this one.
        """
        if self.genres is None:
            return Recognizer(self.job, self.model, with_units=True)
        from trainer.models import musicnn

        return Recognizer(self.job, musicnn.tagger(at_one_loudness=True), genres=self.genres, with_units=True)

    def recognize(self, file: BinaryIO, *, max_duration_s: float = MAX_DURATION_S) -> Recognition:
        """Name the genre of one audio file.

        Args:
          file: open for reading, seekable; any format, rate and channel count that beam_preprocess.audio reads.
          max_duration_s: longer audio is rejected.

        Raises:
          Reject: the file cannot be used; its reason is one of beam_preprocess.audio.REASONS.
        """
        return self.classify([self.decode(file, max_duration_s=max_duration_s)])[0]

    def decode(self, file: BinaryIO, *, max_duration_s: float = MAX_DURATION_S, name: str = "") -> DecodedTrack:
        """Decode a file and compute its spectrogram, which is most of the work of `recognize`.

        Args:
          file: as in `recognize`.
          max_duration_s: longer audio is rejected.
          name: the file's name, whose ending is a hint at its format.

        Raises:
          Reject: the file cannot be used.
        """
        samples = 0

        def count(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            nonlocal samples
            for block in blocks:
                samples += len(block)
                yield block

        rate = self.front_end.config.sample_rate
        measure = TrackMeasure()
        blocks = audio.stream(
            file,
            sample_rate=rate,
            min_samples=max(1, self.front_end.min_samples(self.job.min_frames)),
            max_duration_s=max_duration_s,
            name=name,
            observe=measure,
        )
        log_mel = np.concatenate(list(self.front_end.stream(count(blocks))))
        if not self._spans(len(log_mel)):
            raise Reject("too_short", f"no piece of it holds a patch of {self.patch_frames} frames")
        return DecodedTrack(log_mel, samples / rate, note_of(measure.sound()))

    def classify(self, tracks: Sequence[DecodedTrack]) -> list[Recognition]:
        """Name the genre of decoded tracks; patches of several short ones share a step of the model."""
        if not tracks:
            return []
        # A silent track has no patches: the model would name a genre, but at random.
        frames = [0 if track.note == SILENT else len(track.log_mel) for track in tracks]
        spans = [self._spans(count) for count in frames]
        patches = [(track.log_mel, span) for track, rows in zip(tracks, spans, strict=True) for span in rows]
        none = [np.zeros((0, width), np.float32) for width in (len(self.labels), self.num_units)]
        steps = [self._outputs(patches[first : first + _BATCH]) for first in range(0, len(patches), _BATCH)]
        ends = np.cumsum([len(rows) for rows in spans])[:-1]
        of_tracks = [np.split(np.concatenate(each), ends) for each in zip(none, *steps, strict=True)] if tracks else []
        return [self._recognition(*one) for one in zip(tracks, spans, *of_tracks, strict=True)]

    def _spans(self, frames: int) -> list[tuple[int, int]]:
        """Return (first frame, number of frames) of each patch of a spectrogram."""
        return patch_spans(frames, self.patch_frames, resizes=self.job.patch_mode == RESIZE)

    def _outputs(self, patches: Sequence[tuple[np.ndarray, tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities and units of patches, each given as a spectrogram and a span of `_spans`."""
        cut = [log_mel[start : start + length] for log_mel, (start, length) in patches]
        if self.job.patch_mode == RESIZE:
            cut = [resize(piece, self.patch_frames) for piece in cut]
        return self._run(np.stack(cut)[..., np.newaxis])

    def predict_patches(self, patches: np.ndarray) -> np.ndarray:
        """Return probabilities [patches, labels] float32 of [patches, frames, mel_bands, 1] log-mel, not normalised."""
        return self._run(patches)[0]

    def _run(self, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return [patches, labels] and [patches, units] float32 for patches as `predict_patches` takes them."""
        import keras

        inputs = (patches[..., 0] - self._mean) * self._scale
        with self._model_lock:
            outputs = self._network.predict_on_batch(inputs[..., np.newaxis])
        both = outputs if self.num_units else (outputs, np.zeros((len(patches), 0)))
        probabilities, units = (keras.ops.convert_to_numpy(values).astype(np.float32) for values in both)
        return probabilities, units

    def _recognition(
        self, track: DecodedTrack, spans: list[tuple[int, int]], timeline: np.ndarray, units: np.ndarray
    ) -> Recognition:
        rate = self.front_end.config.frames_per_s
        probabilities = (timeline.sum(axis=0, dtype=np.float64) / max(1, len(timeline))).astype(np.float32)
        answer = distance = None
        if self.familiarity is not None and len(units):
            mean = units.mean(axis=0, dtype=np.float64)[np.newaxis]
            distance = float(self.familiarity.distances(mean, np.array([len(units)]))[0])
        if self.confidence is not None and len(timeline):
            answer = self.confidence.apply(probabilities, distance)
        return Recognition(
            labels=self.labels,
            probabilities=probabilities,
            answer=answer,
            distance=distance,
            timeline=timeline,
            starts_s=np.array([start for start, _ in spans], np.float64) / rate,
            patch_s=(spans[0][1] if spans else self.patch_frames) / rate,
            duration_s=track.duration_s,
            log_mel=track.log_mel,
            note=track.note,
            genres=self.genres,
            units=units if self._keeps_units else None,
        )


def _network_with_units(model: "keras.Model") -> tuple["keras.Model", int]:
    """Return a model that gives what its last layer receives beside what that gives, and how many values that is."""
    import keras

    units = model.layers[-1].input
    return keras.Model(model.inputs, [model.outputs[0], units]), units.shape[-1]


def check_source(job_dir: str, model: str) -> None:
    """Check that a command line names a trained job or the published model.

    Raises:
      UserError: neither, both, or a model that was not published.
    """
    if bool(job_dir) == bool(model) or model not in ("", models.PRETRAINED):
        raise UserError(f"--job_dir=JOB is needed, or --model={models.PRETRAINED} in its place (see --help)")


def load_recognizer(job_dir: str, model: str) -> Recognizer:
    """Load what a command line names (see `check_source`): the published model, or that of a job's directory or URL.

    Raises:
      UserError: the directory holds no trained model, or the published weights are not installed.
    """
    if model:
        return Recognizer.published()
    with job_store.opened(job_dir) as directory:
        job = TrainingJob.load(directory)
        tell_unfinished(job, directory)
        return Recognizer.load(directory, job)


def patch_starts(frames: int, patch_frames: int) -> np.ndarray:
    """Return the frame where each patch begins.

    Preprocessing cuts a recording longer than beam_preprocess.audio.front_end.MAX_RECORD_FRAMES into several records.
    Patches follow each other within each such piece; what is left after a piece's last whole patch is not used.

    Args:
      frames: number of frames in the whole spectrogram.
      patch_frames: number of frames in a patch.

    Returns:
      [patches] int64, rising; empty where no piece holds a patch.

    Example:
      >>> patch_starts(250, 80)
      array([  0,  80, 160])
    """
    starts: list[int] = []
    first = 0
    for length in segment_lengths(frames):
        starts.extend(range(first, first + length - patch_frames + 1, patch_frames))
        first += length
    return np.array(starts, np.int64)


def patch_spans(frames: int, patch_frames: int, *, resizes: bool) -> list[tuple[int, int]]:
    """Return (first frame, number of frames) of each patch of a spectrogram of so many frames.

    Args:
      frames: number of frames in the whole spectrogram.
      patch_frames: number of frames in a patch.
      resizes: whether a patch is a whole piece of the recording, to be resized, instead of a window.

    Example:
      >>> patch_spans(250, 80, resizes=False), patch_spans(250, 80, resizes=True)
      ([(0, 80), (80, 80), (160, 80)], [(0, 250)])
    """
    if not resizes:
        return [(int(start), patch_frames) for start in patch_starts(frames, patch_frames)]
    lengths = segment_lengths(frames)
    return [(sum(lengths[:number]), length) for number, length in enumerate(lengths)]


def resize(log_mel: np.ndarray, length: int) -> np.ndarray:
    """Return a spectrogram stretched or squeezed to `length` frames, by tf.image.resize's bilinear rule.

    Row i of the result lies at (i + 0.5) frames / length - 0.5, between two frames, weighted by nearness.

    Args:
      log_mel: [frames, mel_bands] float32.
      length: number of frames in the result.

    Example:
      >>> resize(np.array([[0.0], [1.0]], np.float32), 4)[:, 0].tolist()
      [0.0, 0.25, 0.75, 1.0]
    """
    position = (np.arange(length, dtype=np.float32) + np.float32(0.5)) * np.float32(len(log_mel) / length)
    position = np.clip(position - np.float32(0.5), 0, len(log_mel) - 1)
    below = np.floor(position).astype(np.int64)
    before, after = log_mel[below], log_mel[np.minimum(below + 1, len(log_mel) - 1)]
    return before + (after - before) * (position - below).astype(np.float32)[:, np.newaxis]


def front_end_config(job: TrainingJob) -> FrontEndConfig:
    """Return the front end of a job's dataset.

    Raises:
      UserError: this version has no such front end.
    """
    try:
        return json_data.build(FrontEndConfig, dict(job.front_end))
    except ValueError as error:
        raise UserError(
            f"the job's front end is not one of this version ({error}); preprocess and train again"
        ) from None


def note_of(sound: TrackSound) -> str | None:
    """Return SILENT or CANCELLED for a track of which the model hears nothing, or next to nothing; else None."""
    if sound.silent:
        return SILENT
    return CANCELLED if sound.cancels else None
