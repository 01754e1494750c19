"""The filters of trained `time` and `frequency` models as the start of a time_frequency_init model.

The parents have to be trained on the very tracks that their child trains on, and chosen on the very ones that choose
its epoch. Otherwise filters that have heard a test track would make the score too good.
"""

import dataclasses
import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tfrecords.common.command_line import UserError
from trainer import models, training_job
from trainer.training.training_state import STATE_FILE
from trainer.training_job import Parents, TrainingJob

if TYPE_CHECKING:
    import keras

# Model -> its options; those that a child has too are the sizes of its filters.
_OPTIONS = {"time": ("filters", "filter_frames"), "frequency": ("filters", "filter_bands")}
_WEIGHTS = "model.weights.h5"


def parents_of(time_dir: Path, frequency_dir: Path) -> Parents:
    """Two trained jobs as the parents of a job to be made: `dataclasses.replace(job, init_from=parents_of(...))`.

    Raises:
      UserError: a directory holds no trained model.
    """
    digest = hashlib.sha256()
    for job_dir in (time_dir, frequency_dir):
        path = job_dir / training_job.CHECKPOINT_FILE
        try:
            # The weights alone: beside them the file holds the moment of saving.
            with zipfile.ZipFile(path) as archive:
                digest.update(archive.read(_WEIGHTS))
        except (OSError, KeyError, zipfile.BadZipFile):
            raise UserError(f"`init_from`: {path} is no trained model; train one with trainer.train") from None
    return Parents(str(time_dir.resolve()), str(frequency_dir.resolve()), digest.hexdigest())


def parse(directories: str) -> Parents | None:
    """Reads "TIME_JOB,FREQUENCY_JOB", as a command line gives it; None for "".

    Raises:
      UserError: not two directories, or one without a trained model.
    """
    if not directories:
        return None
    paths = [Path(path) for path in directories.split(",") if path]
    if len(paths) != 2:
        raise UserError(f"`init_from` must be TIME_JOB,FREQUENCY_JOB, got {directories!r}")
    return parents_of(*paths)


def check_parents(job: TrainingJob) -> None:
    """Checks that a job's parents are trained, and by what the job itself is allowed to learn from.

    Raises:
      UserError: a parent is another model, is not trained to its end, was trained on another dataset, or on or by
        other parts than the job: it may have heard the job's validation or test tracks.
    """
    if job.init_from is None:
        return
    for model, job_dir in zip(_OPTIONS, (job.init_from.time_dir, job.init_from.frequency_dir), strict=True):
        parent = TrainingJob.load(Path(job_dir))
        if parent.model != model:
            raise UserError(
                f"`init_from`: {job_dir} holds a model {parent.model}, not {model}; give TIME_JOB,FREQUENCY_JOB"
            )
        if (Path(job_dir) / STATE_FILE).exists():
            raise UserError(f"`init_from`: {job_dir} is not trained to its end; give its own command again first")
        if parent.fingerprint != job.fingerprint:
            raise UserError(f"`init_from`: {job_dir} was trained on another dataset, fingerprint {parent.fingerprint}")
        for role, own, others in (
            ("was trained on", job.parts.train, parent.parts.train),
            ("was chosen on", job.parts.valid, parent.parts.valid),
        ):
            if set(own) != set(others):
                raise UserError(
                    f"`init_from`: {job_dir} {role} {', '.join(others)}, not on {', '.join(own)} as this job; "
                    "its filters may know validation or test tracks; take one of the same `test_fold` and `valid_fold`"
                )


def is_parent(job: TrainingJob, job_dir: Path) -> bool:
    """Whether a directory is that of one of the parents that a job names."""
    if job.init_from is None:
        return False
    return str(job_dir.resolve()) in (job.init_from.time_dir, job.init_from.frequency_dir)


def trains_parents(job: TrainingJob) -> bool:
    """Whether the job trains its parents itself."""
    return job.model == models.WITH_PARENTS and job.init_from is None


def own_parents(job: TrainingJob) -> dict[str, TrainingJob]:
    """The jobs that a job without parents trains first, by the names of their directories inside its own."""
    return {
        model: dataclasses.replace(
            job,
            model=model,
            model_options={name: size for name, size in job.model_options.items() if name in options},
        )
        for model, options in _OPTIONS.items()
    }


def start_from_parents(model: "keras.Model", job: TrainingJob) -> None:
    """Gives a new model the filters of the job's parents, where it names any.

    Raises:
      UserError: the parents do not fit the job, have changed since it was made, or cannot be read.
    """
    if job.init_from is None:
        return
    check_parents(job)
    time_dir, frequency_dir = Path(job.init_from.time_dir), Path(job.init_from.frequency_dir)
    if parents_of(time_dir, frequency_dir) != job.init_from:
        raise UserError(f"the parents in {time_dir} and {frequency_dir} are not those that the job was made with")
    _copy_from(model, time_dir, frequency_dir)


def start_from_own_parents(model: "keras.Model", job: TrainingJob, job_dir: Path) -> None:
    """Gives a new model the filters of the parents that the job has trained in its own directory.

    Raises:
      UserError: a parent's model cannot be read.
    """
    _copy_from(model, *(job_dir / name for name in own_parents(job)))


def _copy_from(model: "keras.Model", time_dir: Path, frequency_dir: Path) -> None:
    from trainer.evaluation.predictions import load_model

    copy_filters(model, time=load_model(time_dir), frequency=load_model(frequency_dir))
    print(f"{model.name}: starts with the filters of {time_dir} and {frequency_dir}", flush=True)


def copy_filters(model: "keras.Model", *, time: "keras.Model", frequency: "keras.Model") -> None:
    """Gives a time_frequency model the filters, kernel and bias, of one of each kind; its dense layers stay.

    Raises:
      UserError: the filters have other sizes, or there are more or fewer of them.
    """
    for name, parent in (("time", time), ("frequency", frequency)):
        layer, source = model.get_layer(f"{name}_convolution"), parent.get_layer("convolution")
        if layer.kernel.shape != source.kernel.shape:
            raise UserError(
                f"the trained filters of {name} are {_size(source)}, this model's {_size(layer)}; "
                "train both with the same `model_options`"
            )
        layer.set_weights(source.get_weights())


def _size(layer: "keras.layers.Conv2D") -> str:
    frames, bands, _, filters = layer.kernel.shape
    return f"{filters} of {bands} bands x {frames} frames"
