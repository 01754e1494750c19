"""The directory of an exported model, written whole or not at all."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfrecords.common import files, shutdown
from tfrecords.common.command_line import UserError
from trainer.config import RESIZE
from trainer.serving.recognizer import Recognizer
from trainer.training_job import TrainingJob

FACTS_FILE = "export.json"
MODEL_FILE = "model.keras"


def export(job_dir: Path, export_dir: Path, job: TrainingJob | None = None) -> None:
    """Write a job's model as a SavedModel, with the Keras model alone in model.keras, and export.json.

    Args:
      job_dir: directory of the trained job.
      export_dir: replaced if it exists.
      job: the job's configuration, where the caller has already read it.

    Raises:
      UserError: there is no trained model, Keras runs on another backend than TensorFlow, or the directory cannot be
        written.
    """
    export_model(Recognizer.load(job_dir, job), export_dir)


def export_model(recognizer: Recognizer, export_dir: Path) -> None:
    """Write a recognizer's model as `export` does.

    Raises:
      UserError: Keras runs on another backend than TensorFlow, or the directory cannot be written.
    """
    import keras
    import tensorflow as tf

    from trainer.serving.served_model import ServedModel

    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"Keras runs on {keras.backend.backend()}, but a SavedModel needs TensorFlow; set KERAS_BACKEND=tensorflow "
            "(a model that was trained on another backend can be exported)"
        )
    with whole_directory(export_dir) as temporary:
        served = ServedModel(recognizer.job, recognizer.model, recognizer.front_end)
        try:
            tf.saved_model.save(served, temporary, signatures=served.signatures())
        except tf.errors.OpError as error:
            raise UserError(f"{export_dir} cannot be written: {error.message}") from None
        recognizer.model.save(temporary / MODEL_FILE)
        files.write_text(temporary / FACTS_FILE, json.dumps(_facts(recognizer), indent=1) + "\n")


def check_replaceable(export_dir: Path, *, overwrite: bool) -> None:
    """Raise UserError if an export would replace something other than an exported model that may be overwritten."""
    try:
        if not export_dir.exists() or (export_dir.is_dir() and not any(export_dir.iterdir())):
            return
        if not (export_dir / FACTS_FILE).is_file():
            raise UserError(f"`export_dir={export_dir}` exists and is no exported model; choose another")
    except OSError as error:
        raise UserError(f"`export_dir={export_dir}` cannot be read: {error.strerror}") from None
    if not overwrite:
        raise UserError(f"`export_dir={export_dir}` holds an exported model; `overwrite` replaces it")


def _facts(recognizer: Recognizer) -> dict:
    """Return what someone who serves the model needs to know, for export.json."""
    job = recognizer.job
    return {
        "labels": list(job.labels),
        **({} if recognizer.genres is None else {"genres": list(recognizer.genres)}),
        "model": job.model,
        "model_options": dict(job.model_options),
        "front_end": dict(job.front_end),
        "patch_mode": job.evaluation_mode,
        "patch_frames": job.patch_frames,
        **({} if job.evaluation_mode == RESIZE else {"patch_hop": job.patch_frames}),
        "shorter_than_a_patch": "stretched" if job.evaluation_mode == RESIZE else "refused",
        "normalisation": {
            "where": f"within every signature; {MODEL_FILE} takes (log-mel - mean) / std, each band by its own",
            "mean": job.statistics.mean.tolist(),
            "std": job.statistics.scale.tolist(),
        },
        "dataset_fingerprint": job.fingerprint,
        "versions": dict(job.versions),
    }


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Give a temporary directory to fill; after the block it is renamed to `path` and replaces what was there.

    If the block fails or a signal ends the process, the temporary directory is removed and `path` is left as it was.
    What a killed process left behind is cleaned up by the next call.

    Raises:
      UserError: the directory cannot be written, or another process is writing it.
    """
    # If the path is a link, its target is replaced.
    path = path.resolve()
    # In the same parent, so that a rename copies nothing.
    temporary, previous = (path.parent / f".{kind}-{path.name}" for kind in ("tmp", "old"))

    def clean_up() -> None:
        if previous.exists() and not path.exists():
            previous.rename(path)
        for leftover in (temporary, previous):
            shutil.rmtree(leftover, ignore_errors=True)

    try:
        temporary.mkdir(parents=True, exist_ok=True)
        # The lock is on the directory, not on its name: leftovers in it are deleted one by one, and it stays.
        with files.lock_directory(temporary, "exporting"), shutdown.cleanup_on_signal(clean_up):
            try:
                for leftover in temporary.iterdir():
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
                yield temporary
                if path.exists():
                    path.rename(previous)
                temporary.rename(path)
            finally:
                clean_up()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
