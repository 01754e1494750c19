"""The directory of an exported model, written whole or not at all."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfrecords.common import files, shutdown
from tfrecords.common.command_line import UserError
from trainer import training_job
from trainer.serving.recognizer import Recognizer
from trainer.training_job import TrainingJob

FACTS_FILE = "export.json"
MODEL_FILE = "model.keras"


def export(job_dir: Path, export_dir: Path) -> None:
    """Writes a job's best model: a SavedModel, the model alone as model.keras, and export.json.

    Args:
      job_dir: of the trained job.
      export_dir: what was exported there before is replaced.

    Raises:
      UserError: no trained model there, Keras runs on another backend than TensorFlow, it cannot be written.
    """
    recognizer = Recognizer.load(job_dir)
    import keras
    import tensorflow as tf

    from trainer.serving.served_model import ServedModel

    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"Keras runs on {keras.backend.backend()}, and a SavedModel is TensorFlow's; set KERAS_BACKEND=tensorflow "
            "(a model that was trained on another backend can be exported)"
        )
    job = TrainingJob.load(job_dir)
    with whole_directory(export_dir) as temporary:
        served = ServedModel(job, recognizer.model, recognizer.front_end)
        try:
            tf.saved_model.save(served, temporary, signatures=served.signatures())
        except tf.errors.OpError as error:
            raise UserError(f"{export_dir} cannot be written: {error.message}") from None
        shutil.copyfile(job_dir / training_job.CHECKPOINT_FILE, temporary / MODEL_FILE)
        files.write_text(temporary / FACTS_FILE, json.dumps(_facts(job), indent=1) + "\n")


def check_free(export_dir: Path, *, overwrite: bool) -> None:
    """Raises UserError where an export would replace something, unless that is an export and is to be replaced."""
    try:
        if not export_dir.exists() or (export_dir.is_dir() and not any(export_dir.iterdir())):
            return
        if not (export_dir / FACTS_FILE).is_file():
            raise UserError(f"--export_dir={export_dir} is there, and no exported model; choose another")
    except OSError as error:
        raise UserError(f"--export_dir={export_dir} cannot be read: {error.strerror}") from None
    if not overwrite:
        raise UserError(f"--export_dir={export_dir} holds an exported model; --overwrite replaces it")


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Gives a temporary directory to fill, which afterwards has the name, in place of what had it before.

    What is under the temporary name is gone in any case, also where a signal ends the process; what one that was killed
    has left there goes first.

    Raises:
      UserError: it cannot be written, or another process is writing it; what the name held before is still there.
    """
    # A link stays one: what it leads to is replaced.
    path = path.resolve()
    # Beside the name, so that renaming moves nothing.
    temporary, before = (path.parent / f".{kind}-{path.name}" for kind in ("tmp", "old"))

    def put_in_order() -> None:
        if before.exists() and not path.exists():
            before.rename(path)
        for leftover in (temporary, before):
            shutil.rmtree(leftover, ignore_errors=True)

    try:
        temporary.mkdir(parents=True, exist_ok=True)
        # What is locked is the directory, not its name, so it is emptied and stays.
        with files.lock_directory(temporary, "exporting"), shutdown.cleanup_on_signal(put_in_order):
            try:
                for left in temporary.iterdir():
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                yield temporary
                if path.exists():
                    path.rename(before)
                temporary.rename(path)
            finally:
                put_in_order()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def _facts(job: TrainingJob) -> dict:
    """What someone who serves the model has to know, as JSON."""
    return {
        "labels": list(job.labels),
        "model": job.model,
        "model_options": dict(job.model_options),
        "front_end": dict(job.front_end),
        "patch_frames": job.patch_frames,
        "patch_hop": job.patch_frames,
        "shorter_than_a_patch": "refused",
        "normalisation": {
            "where": f"within every signature; {MODEL_FILE} takes (log-mel - mean) / std, each band by its own",
            "mean": job.statistics.mean.tolist(),
            "std": job.statistics.scale.tolist(),
        },
        "dataset_fingerprint": job.fingerprint,
        "versions": dict(job.versions),
    }
