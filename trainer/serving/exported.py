"""An exported model, loaded again: its signatures, and the recognition of audio files by it."""

import concurrent.futures
import dataclasses
import os
import queue
import threading
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from beam_preprocess.audio.front_end import FrontEnd, FrontEndConfig
from tfrecords.common import command_line, files, json_data
from tfrecords.common.command_line import UserError
from trainer.config import RESIZE, WINDOWS
from trainer.evaluation.confidence import FAMILIARITY_FILE, Confidence, Familiarity
from trainer.serving.export_dir import FACTS_FILE, ONNX_FILE
from trainer.serving.recognizer import MAX_DURATION_S, DecodedTrack, Recognizer

# Patches of several requests that share a step of the model.
_BATCH = 256
# Probabilities and units.
_Outputs = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ExportFacts:
    """What export.json says that a reader of audio needs.

    Attributes:
      labels: label names.
      model: name of the network.
      front_end: waveform -> log-mel.
      patch_mode: "windows" or "resize".
      patch_frames: frames of a patch.
      genres: those of the labels that are genres, where the labels are tags of any kind.
      confidence: what the answers are worth, where that is known.
    """

    labels: tuple[str, ...]
    model: str
    front_end: FrontEndConfig
    patch_mode: str
    patch_frames: int
    genres: tuple[str, ...] | None = None
    confidence: Confidence | None = None

    def __post_init__(self) -> None:
        if self.patch_mode not in (WINDOWS, RESIZE) or self.patch_frames < 1:
            raise ValueError(f"patches must be windows or resized; got {self.patch_mode}, {self.patch_frames} frames")

    @property
    def min_frames(self) -> int:
        """Frames of the shortest audio that gives a patch."""
        return 1 if self.patch_mode == RESIZE else self.patch_frames

    @classmethod
    def load(cls, export_dir: Path) -> "ExportFacts":
        """Read them from the directory of an export.

        Raises:
          UserError: it is none, or of another version.
        """
        path = export_dir / FACTS_FILE
        try:
            return json_data.build(cls, json_data.parse(files.read_text(path)), more=True)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{export_dir}: no {FACTS_FILE}, so no exported model; make one with python -m trainer.export"
            ) from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UserError(f"{path}: not of an export of this version ({error}); export again") from None


class ExportedModel(Recognizer):
    """A SavedModel of `trainer.export`. Threads may share one; their patches share the steps of the model.

    Attributes:
      facts: of export.json.
      signatures: name -> TensorFlow function.

    Raises:
      UserError: the directory holds no exported model, or a damaged one.
    """

    def __init__(self, export_dir: Path) -> None:
        self.facts = ExportFacts.load(export_dir)
        # All that a Recognizer reads of a job.
        self.job = self.facts  # type: ignore[assignment]
        self.labels, self.genres, self.confidence = self.facts.labels, self.facts.genres, self.facts.confidence
        self.front_end = FrontEnd(self.facts.front_end)
        self.patch_frames = self.facts.patch_frames
        if (export_dir / ONNX_FILE).is_file():
            raise UserError(f"{export_dir} holds a model for ONNX runtimes; export it with --format=saved_model")
        if self.confidence is not None and self.confidence.farthest is not None:
            try:
                self.familiarity = Familiarity.load(export_dir)
                self.num_units = len(self.familiarity.axes)
            except UserError:
                raise UserError(
                    f"{export_dir}: cannot be loaded ({FAMILIARITY_FILE} is missing or damaged); export again"
                ) from None
        command_line.import_tensorflow()
        import tensorflow as tf

        try:
            self._loaded = tf.saved_model.load(str(export_dir))
            self.signatures: dict[str, Any] = dict(self._loaded.signatures)
            self._signature = self.signatures["patches" if self.familiarity is None else "units"]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"{export_dir}: cannot be loaded ({str(error).splitlines()[0]}); export again") from None
        # More at once would only compete for the cores, and hold more spectrograms.
        self._decoding = threading.Semaphore(os.cpu_count() or 1)
        self._waiting: queue.SimpleQueue[tuple[np.ndarray, concurrent.futures.Future[_Outputs]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def decode(self, file: BinaryIO, *, max_duration_s: float = MAX_DURATION_S, name: str = "") -> DecodedTrack:
        """Decode a file and compute its spectrogram, as many at once as there are cores.

        Raises:
          Reject: the file cannot be used.
        """
        with self._decoding:
            return super().decode(file, max_duration_s=max_duration_s, name=name)

    def predict_patches(self, patches: np.ndarray) -> np.ndarray:
        """Return probabilities [patches, labels] float32 of [patches, frames, mel_bands, 1] log-mel, not normalised."""
        return self._run(patches)[0]

    def _run(self, patches: np.ndarray) -> _Outputs:
        """Return [patches, labels] and [patches, units] float32 for patches as `predict_patches` takes them."""
        answer: concurrent.futures.Future[_Outputs] = concurrent.futures.Future()
        self._waiting.put((patches, answer))
        return answer.result()

    def _work(self) -> None:
        """Answer what waits, in steps of about _BATCH patches: whatever arrives during a step shares the next one."""
        while True:
            taken = [self._waiting.get()]
            while sum(len(patches) for patches, _ in taken) < _BATCH and not self._waiting.empty():
                taken.append(self._waiting.get())
            try:
                joined = np.concatenate([patches for patches, _ in taken]).astype(np.float32)
                outputs = self._signature(patches=joined)
                probabilities = outputs["probabilities"].numpy()
                units = outputs["units"].numpy() if "units" in outputs else np.zeros((len(joined), 0), np.float32)
            except Exception as error:  # noqa: BLE001 - whoever asked is told, and the thread goes on.
                for _, answer in taken:
                    answer.set_exception(error)
                continue
            ends = np.cumsum([len(patches) for patches, _ in taken])[:-1]
            parts = zip(taken, np.split(probabilities, ends), np.split(units, ends), strict=True)
            for (_, answer), own, own_units in parts:
                answer.set_result((own, own_units))
