"""The ways by which audio comes to a trained model's answer: predict, the exported model, and shards."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from beam_preprocess import audio
from tfrecords import example, load
from tfrecords.manifest import Manifest
from tfrecords.records import iterate
from trainer.serving.recognizer import MAX_DURATION_S, Recognizer
from trainer.training_job import TrainingJob


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """What one path makes of a file.

    Attributes:
      probabilities: [labels] float32.
      log_mel: [frames, mel_bands] float32, as the path has it; None where it does not show it.
    """

    probabilities: np.ndarray
    log_mel: np.ndarray | None = None

    def differences(self, other: "Answer", *, depth: float = np.inf) -> tuple[float, float]:
        """The largest of the log-mel, and the largest of the probabilities; NaN where there is nothing to compare.

        Args:
          other: what this is compared with.
          depth: log-mel values further below the other's highest are not compared.
        """
        log_mel = float("nan")
        if self.log_mel is not None and other.log_mel is not None:
            near = other.log_mel >= other.log_mel.max() - depth
            log_mel = float(np.abs(self.log_mel - other.log_mel)[near].max())
        return log_mel, float(np.abs(self.probabilities - other.probabilities).max())


def by_predict(recognizer: Recognizer, path: Path) -> Answer:
    """As trainer.predict and the page do it."""
    with path.open("rb") as file:
        recognition = recognizer.recognize(file)
    return Answer(recognition.probabilities, recognition.log_mel)


def by_export(signatures: Any, recognizer: Recognizer, path: Path) -> Answer:
    """The exported model, given the waveform that the decoder makes at the model's rate."""
    with path.open("rb") as file:
        waveform = audio.decode(
            file,
            sample_rate=recognizer.front_end.config.sample_rate,
            min_samples=1,
            max_duration_s=MAX_DURATION_S,
        )
    answer = signatures["serving_default"](waveform=tf.constant(waveform))
    log_mel = signatures["log_mel"](waveform=tf.constant(waveform))
    return Answer(answer["probabilities"].numpy(), log_mel["log_mel"].numpy())


def by_wav_bytes(signatures: Any, path: Path) -> Answer:
    """The exported model, given a WAV file at its rate as it is."""
    answer = signatures["wav_bytes"](wav_bytes=tf.constant(path.read_bytes()))
    return Answer(answer["probabilities"].numpy())


def by_shards(job: TrainingJob, recognizer: Recognizer, data_dir: Path) -> dict[str, Answer]:
    """As evaluation does it: each track of a dataset, by its id."""
    manifest = Manifest.load(data_dir)
    pieces: dict[str, list[np.ndarray]] = {}
    for part in manifest.parts:
        for record in iterate(manifest, data_dir, part):
            pieces.setdefault(record.track_id, []).append(record.log_mel.astype(np.float32))
    probabilities: dict[str, list[np.ndarray]] = {}
    batches = load(data_dir, patch_frames=job.patch_frames, statistics=job.statistics)
    for patches, _, track_ids in batches.as_numpy_iterator():
        for track_id, row in zip(track_ids, recognizer.model.predict_on_batch(patches), strict=True):
            probabilities.setdefault(example.to_text(track_id), []).append(np.asarray(row))
    return {
        track_id: Answer(np.mean(rows, axis=0), np.concatenate(pieces[track_id]))
        for track_id, rows in probabilities.items()
    }
