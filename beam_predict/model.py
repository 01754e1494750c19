"""The model of a trained job or of an export: what its directory says of it, and the network in a worker's process.

Both kinds of directory hold the model as Keras saved it, which also gives the embedding; so there is one way to run it.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beam_preprocess.audio.front_end import FrontEndConfig
from tfrecords.common import command_line, files, json_data
from tfrecords.common.command_line import UserError
from trainer import job_store
from trainer.config import RESIZE
from trainer.evaluation.confidence import CONFIDENCE_FILE, FAMILIARITY_FILE, Confidence, Familiarity
from trainer.serving.export_dir import FACTS_FILE, MODEL_FILE
from trainer.serving.exported import ExportFacts
from trainer.serving.recognizer import front_end_config
from trainer.training.resume import tell_unfinished
from trainer.training_job import CHECKPOINT_FILE, CONFIG_FILE, TrainingJob

if TYPE_CHECKING:
    import keras

# Patches per step of the model. Every step has so many, the last ones padded, so that each is computed in one way.
BATCH = 64
_JOB_FILES, _EXPORT_FILES = (CONFIG_FILE, CHECKPOINT_FILE), (FACTS_FILE, MODEL_FILE)


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What a model's directory says of it; small, and read without TensorFlow.

    Attributes:
      location: the directory, a path or a URL.
      is_export: whether it is that of an export.
      name: of the network.
      labels: the network's outputs, in order.
      genres: those of the labels that are genres, where the labels are tags of any kind; None: all are.
      front_end: waveform -> log-mel.
      resizes: whether a patch is a whole piece of a recording, resized.
      patch_frames: frames of a patch.
      mean: per band, of the log-mel that the model was trained on.
      std: the same; patches are normalised by both.
      fingerprint: SHA-256 of the files that the model is read from.
      confidence: what its answers are worth; None where that was not fitted.
    """

    location: str
    is_export: bool
    name: str
    labels: tuple[str, ...]
    genres: tuple[str, ...] | None
    front_end: FrontEndConfig
    resizes: bool
    patch_frames: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    confidence: Confidence | None = None

    @property
    def min_frames(self) -> int:
        """Frames of the shortest audio that gives a patch."""
        return 1 if self.resizes else self.patch_frames

    @property
    def measures_distance(self) -> bool:
        """Whether it is known how far a track lies from the training tracks."""
        return self.confidence is not None and self.confidence.farthest is not None

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the model is read from."""
        own: tuple[str, ...] = _EXPORT_FILES if self.is_export else _JOB_FILES
        if self.confidence is not None and not self.is_export:
            own += (CONFIDENCE_FILE,)
        return (*own, FAMILIARITY_FILE) if self.measures_distance else own

    @classmethod
    def read(cls, location: str) -> "ModelFacts":
        """Read them from the directory of a job or of an export.

        Raises:
          UserError: it is neither, of another version, or not trained yet.
        """
        with job_store.opened(location) as directory:
            if (directory / FACTS_FILE).is_file():
                facts = _facts_of_export(location, directory)
            elif (directory / CONFIG_FILE).is_file():
                facts = _facts_of_job(location, directory)
            else:
                raise UserError(
                    f"`model_dir={location}` holds neither a trained job ({CONFIG_FILE}) nor an exported model "
                    f"({FACTS_FILE})"
                )
            return dataclasses.replace(facts, fingerprint=_fingerprint(directory, facts.files))


def _facts_of_job(location: str, directory: Path) -> ModelFacts:
    job = TrainingJob.load(directory)
    tell_unfinished(job, directory)
    return ModelFacts(
        location=location,
        is_export=False,
        name=job.model,
        labels=job.labels,
        genres=None,
        front_end=front_end_config(job),
        resizes=job.patch_mode == RESIZE,
        patch_frames=job.patch_frames,
        mean=tuple(job.statistics.mean.tolist()),
        std=tuple(job.statistics.scale.tolist()),
        fingerprint="",
        confidence=Confidence.load(directory),
    )


@dataclasses.dataclass(frozen=True)
class _Normalisation:
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class _Normalised:
    """What export.json says of the input of model.keras."""

    normalisation: _Normalisation


def _facts_of_export(location: str, directory: Path) -> ModelFacts:
    facts = ExportFacts.load(directory)
    path = directory / FACTS_FILE
    try:
        normalised = json_data.build(_Normalised, json_data.parse(files.read_text(path)), more=True).normalisation
        if not len(normalised.mean) == len(normalised.std) == facts.front_end.n_mels:
            raise ValueError(f"normalisation must have {facts.front_end.n_mels} bands")
    except ValueError as error:
        raise UserError(f"{path}: not of an export of this version ({error}); export again") from None
    return ModelFacts(
        location=location,
        is_export=True,
        name=facts.model,
        labels=facts.labels,
        genres=facts.genres,
        front_end=facts.front_end,
        resizes=facts.patch_mode == RESIZE,
        patch_frames=facts.patch_frames,
        mean=normalised.mean,
        std=normalised.std,
        fingerprint="",
        confidence=facts.confidence,
    )


def _fingerprint(directory: Path, names: Sequence[str]) -> str:
    """Return SHA-256 of the files' digests.

    Raises:
      UserError: one of them is missing or cannot be read.
    """
    whole = hashlib.sha256()
    for name in names:
        try:
            with (directory / name).open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise UserError(f"{directory / name}: {error.strerror}; train or export the model again") from None
    return whole.hexdigest()


class Network:
    """A model in memory; threads may share one.

    Args:
      model: normalised patches [BATCH, frames, mel_bands, 1] -> probabilities [BATCH, labels].
      facts: of the model.
      embedding: whether to compute the units, too.
      familiarity: measures how far a track lies from the training tracks, by the units; None where that is not known.
    """

    def __init__(
        self, model: "keras.Model", facts: ModelFacts, *, embedding: bool, familiarity: Familiarity | None = None
    ) -> None:
        import keras

        self._familiarity = familiarity
        self._mean = np.array(facts.mean, np.float32)
        self._scale = 1 / np.array(facts.std, np.float32)
        outputs = [model.outputs[0], *([model.layers[-1].input] if embedding or familiarity else [])]
        self._model = keras.Model(model.inputs, outputs)
        # Keras builds a model's function on first use, which two threads must not do at once.
        self(np.zeros((1, facts.patch_frames, len(facts.mean)), np.float32))

    def __call__(self, patches: np.ndarray) -> list[np.ndarray]:
        """Return probabilities [n, labels] and, where they are needed, units [n, units], float32.

        Args:
          patches: [n, frames, mel_bands] log-mel, not normalised; at most BATCH.
        """
        import keras

        inputs = np.zeros((BATCH, *patches.shape[1:], 1), np.float32)
        inputs[: len(patches), ..., 0] = (patches - self._mean) * self._scale
        outputs = self._model.predict_on_batch(inputs)
        # Keras gives a single output without its list.
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return [keras.ops.convert_to_numpy(values)[: len(patches)].astype(np.float32) for values in outputs]

    def distance(self, mean: np.ndarray, patches: int) -> float | None:
        """Return how far a track lies from the training tracks, by the mean [units] over its patches."""
        if self._familiarity is None:
            return None
        return float(self._familiarity.distances(mean[np.newaxis], np.array([patches]))[0])


def load_network(facts: ModelFacts, *, embedding: bool) -> Network:
    """Load a model into this process.

    Raises:
      UserError: its files are damaged, or not those that the facts were read from.
    """
    command_line.import_tensorflow()
    with job_store.opened(facts.location) as directory:
        if _fingerprint(directory, facts.files) != facts.fingerprint:
            raise UserError(f"{facts.location}: the model has changed since the job began; run the command again")
        familiarity = Familiarity.load(directory) if facts.measures_distance else None
        return Network(_load_model(directory, facts), facts, embedding=embedding, familiarity=familiarity)


def _load_model(directory: Path, facts: ModelFacts) -> Any:
    import keras

    from trainer.evaluation.predictions import load_model

    if not facts.is_export:
        return load_model(directory)
    path = directory / MODEL_FILE
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # noqa: BLE001 - Keras builds what the file names, and so fails in any way.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be loaded ({reason}); export again") from None
    _check_shapes(path, model, [(None, facts.patch_frames, len(facts.mean), 1)], [(None, len(facts.labels))])
    return model


def _check_shapes(path: Path, model: "keras.Model", inputs: Sequence[tuple], outputs: Sequence[tuple]) -> None:
    found = [[tensor.shape for tensor in tensors] for tensors in (model.inputs, model.outputs)]
    if found != [list(inputs), list(outputs)]:
        raise UserError(f"{path}: not the model that {FACTS_FILE} describes; export again")
