"""Trains a genre model on a dataset of sharded TFRecords.

python -m trainer.train --data_dir=OUT --job_dir=JOB [--model=black_box] [--recipe=modern] [--test_fold=9] ...

Weights and normalisation come from the training parts; the validation part chooses the epoch; the test part is not
read. --recipe=augmented keeps the last epoch, so what would validate trains too, unless --valid_fold names it. JOB then
holds config.json, best.keras (the model of the epoch that is kept), history.csv, logs/ for TensorBoard, and run.json,
which tells for each start when and where it was, of what code, libraries and devices.

A training that was stopped, however it was, goes on when the same command is given again: after the step at which its
state was last saved (JOB/state.npz, at the end of every epoch and every --save_every_s seconds), with the batches,
learning rates and dropout that an unbroken one has from there on. On a CPU with as many threads
(TF_NUM_INTRAOP_THREADS) and the same libraries, losses and weights are then equal to the last bit. --overwrite starts
over.

SIGTERM, as where a machine is taken back, and Ctrl-C save the state after the step under way. Exit status: 75 after
SIGTERM (EX_TEMPFAIL: give the command again), 130 after Ctrl-C, 2 for a mistake, 0 when the model is trained, also when
it was before. Of several hosts only host 0 saves: the signal to another one loses what came after its last save.

--distribution says on which devices. By itself it takes all GPUs, or the TPU, of this host, and the hosts that the
environment variable TF_CONFIG names; those are all given this same command, with data_dir and job_dir on disks that
they share, and host 0 alone writes. --batch_size is what all devices together train on in a step, so that losses do not
depend on their number, and a training may go on on other devices than it began on. When a host is lost, the others end
with status 69; the same command on all goes on. KERAS_BACKEND=jax trains by JAX, on all devices of one host.

--model=musicnn, on a dataset of --preset=musicnn, does not begin at random but with published weights, which are to be
installed (pip install --no-deps musicnn==0.1.0). By its usual --recipe=probe the network stays as it is, and a logistic
regression on its last units names the labels; the units of a dataset are kept in ~/.cache. Any other recipe begins with
that solution and trains on from there, all but the first filters; take a low --learning_rate.

--model=time_frequency_init trains a time and a frequency model first, in JOB/time and JOB/frequency, unless --init_from
names trained ones.
"""

import contextlib
import dataclasses
import gc
import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from beam_preprocess.audio.front_end import PRESETS
from tfrecords import shard_cache, storage
from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import name_flags
from tfrecords.dataset import Dataset
from tfrecords.manifest import BandStatistics, Manifest
from trainer import config, job_store, models, settings, training_job
from trainer.config import TrainConfig
from trainer.distribution.hosts import STATUS as LOST_STATUS
from trainer.distribution.hosts import VARIABLE as CLUSTER
from trainer.distribution.hosts import HostLostError, end_process
from trainer.evaluation.cross_validation import CROSS_VALIDATION_FILE
from trainer.training import directories, init_filters, run_record
from trainer.training.directories import Directories
from trainer.training.resume import describe_finished, is_finished, resume, start_over, sync_with_chief, unfinished
from trainer.training.run_options import RunOptions
from trainer.training.stop import Stop, Stopped
from trainer.training.training_state import STATE_FILE, TrainingState, values_of
from trainer.training_job import Parents, TrainingJob, check_patches, choose_parts, count_patches

if TYPE_CHECKING:
    import keras

    from trainer.distribution.devices import Devices

FLAGS = flags.FlagValues()
flags.DEFINE_string("data_dir", "", "directory of the dataset", flag_values=FLAGS)
directories.define_flags(FLAGS)
flags.DEFINE_integer("test_fold", None, "fold kept for the score; by default the last", flag_values=FLAGS)
flags.DEFINE_integer(
    "valid_fold",
    None,
    "fold that chooses the epoch; by default the one before, or none where the last epoch is kept",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "init_from",
    "",
    "TIME_JOB,FREQUENCY_JOB whose filters --model=time_frequency_init starts from; by default it trains both first, "
    "in JOB/time and JOB/frequency",
    flag_values=FLAGS,
)
flags.DEFINE_bool("overwrite", False, "start over in a job_dir that holds a job", flag_values=FLAGS)
config.define_flags(FLAGS)
settings.define_flags(RunOptions, FLAGS)
shard_cache.define_flags(FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Checks everything, then trains; returns the exit status."""
    command_line.no_arguments(positional)
    shard_cache.use_flags(flag_values)
    writes_to = Directories.of(flag_values)
    if not flag_values.data_dir or not writes_to.job_dir:
        raise UserError("--data_dir=OUT and --job_dir=JOB are needed (see --help)")
    writes_to.check_export()
    job_store.check_local(*flag_values.init_from.split(","), flag_values.log_batches)
    stop = Stop()
    try:
        with stop.on_signals(writes_to.job_dir):
            _main(flag_values, writes_to, stop)
        return 0
    except HostLostError as error:
        end_process(f"error: {error}", LOST_STATUS)
    except UserError as error:
        if not os.environ.get(CLUSTER):
            raise
        # Here and below: TensorFlow's own end would wait for the other hosts.
        end_process(f"error: {name_flags(str(error))}", 2)
    except Stopped as stopped:
        sentence = str(stopped)
    if os.environ.get(CLUSTER):
        end_process(sentence, stop.status)
    # Threads of the input pipeline run Python, and complain where they outlive it; the exception's frames hold them.
    gc.collect()
    print(sentence, file=sys.stderr)
    return stop.status


def _main(flag_values: flags.FlagValues, writes_to: Directories, stop: Stop) -> None:
    options = _run_options(flag_values, stop)
    stop.resuming = options.devices.resuming
    job = make_job(flag_values)
    is_chief = options.devices.is_chief
    with job_store.opened(writes_to.job_dir, locks=is_chief) as job_dir:
        with job_store.logs_copied(job_dir, writes_to.logs_dir if is_chief else ""):
            _train_in(job_dir, job, flag_values, options)
        if writes_to.export_dir and is_chief:
            writes_to.export(job_dir)


def _train_in(job_dir: Path, job: TrainingJob, flag_values: flags.FlagValues, options: RunOptions) -> None:
    devices = options.devices
    _check_directory(job, job_dir)
    if not flag_values.overwrite and is_finished(job, job_dir):
        print(f"{describe_finished(job, job_dir)}; --overwrite trains it again")
        return
    training_job.make_dir(job_dir, "job_dir")
    with training_job.lock_job_dir(job_dir) if devices.is_chief else contextlib.nullcontext():
        start = None if flag_values.overwrite else unfinished(job, job_dir)
        train(job, job_dir, start=start, options=options)


def _run_options(flag_values: flags.FlagValues, stop: Stop) -> RunOptions:
    given = [flag_values[name].serialize() for name in flag_values if flag_values[name].present]
    command = shlex.join(["python", "-m", "trainer.train", *given])
    return RunOptions(**settings.from_flags(RunOptions, flag_values), pictures=True, command=command, stop=stop)


def make_job(flag_values: flags.FlagValues) -> TrainingJob:
    """Return the job that the flags ask for.

    Raises:
      UserError: as `new_job`.
    """
    return new_job(
        config.from_flags(flag_values),
        flag_values.data_dir,
        test_fold=flag_values.test_fold,
        valid_fold=flag_values.valid_fold,
        init_from=init_filters.parse(flag_values.init_from),
    )


def new_job(
    train_config: TrainConfig,
    data_dir: storage.Location,
    *,
    test_fold: int | None = None,
    valid_fold: int | None = None,
    init_from: Parents | None = None,
) -> TrainingJob:
    """Return a training of a dataset by a configuration.

    Args:
      train_config: how to train.
      data_dir: of the dataset.
      test_fold: see `choose_parts`, as for `valid_fold`.
      valid_fold: the fold that chooses the epoch.
      init_from: trained models whose filters time_frequency_init starts from.

    Raises:
      UserError: no dataset, no such fold, nothing to train or validate on, parents that do not fit.

    Example::

      job = trainer.new_job(trainer.TrainConfig.by_recipe("augmented", model="cnn"), "DATA", test_fold=0)
      train(job, Path("JOB"))
    """
    manifest = Manifest.load(data_dir)
    validates = train_config.rules.checkpoint_metric is not None
    parts = choose_parts(manifest, test_fold=test_fold, valid_fold=valid_fold, validates=validates)
    job = TrainingJob(
        **{field.name: getattr(train_config, field.name) for field in dataclasses.fields(TrainConfig)},
        data_dir=absolute(data_dir),
        fingerprint=manifest.fingerprint,
        parts=parts,
        labels=manifest.labels,
        front_end=manifest.front_end,
        statistics=_statistics(train_config.model, manifest, parts.train),
        versions={name: metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        init_from=init_from,
    )
    init_filters.check_parents(job)
    job.augmentation.check_fits(patch_frames=job.patch_frames, mel_bands=manifest.mel_bands)
    for role, names in (("training", parts.train), ("validation", parts.valid), ("test", parts.test)):
        if names:
            check_patches(manifest, names, role, patch_frames=job.patch_frames, patch_mode=job.patch_mode)
            Dataset(job.data_dir, manifest).check_files(names)
    return job


def _statistics(model: str, manifest: Manifest, parts: Sequence[str]) -> BandStatistics:
    """Return by what patches are normalised; for the pretrained network, which does that itself, by 0 and 1.

    Raises:
      UserError: the dataset has another front end than the pretrained network.
    """
    if model != models.PRETRAINED:
        return manifest.statistics(parts)
    if manifest.front_end != dataclasses.asdict(PRESETS[models.PRETRAINED]):
        raise UserError(
            f"`model={model}` hears spectrograms as --preset={models.PRETRAINED} makes them; preprocess with it"
        )
    return BandStatistics(1, np.zeros(manifest.mel_bands), np.ones(manifest.mel_bands))


def absolute(location: storage.Location) -> str:
    """Return a location that does not depend on the working directory."""
    path = storage.local_path(location)
    return os.fspath(location).rstrip("/") if path is None else str(path.resolve())


def _check_directory(job: TrainingJob, job_dir: Path) -> None:
    """Raises UserError where even --overwrite would destroy what is not an earlier job's."""
    if (job_dir / CROSS_VALIDATION_FILE).exists():
        raise UserError(f"{job_dir} holds a cross-validation; choose another --job_dir")
    if init_filters.is_parent(job, job_dir):
        raise UserError(f"--job_dir={job_dir} is one of --init_from, whose filters are needed; choose another")


def _train_parents(job: TrainingJob, job_dir: Path, options: RunOptions) -> None:
    """Trains, or goes on to train, the models that a job takes its filters from."""
    for name, parent in init_filters.own_parents(job).items():
        parent_dir = job_dir / name
        training_job.make_dir(parent_dir, "job_dir")
        if options.devices.is_chief:
            files.remove_temporary(parent_dir)
        if is_finished(parent, parent_dir):
            print(f"{job.model}: its {name} model is trained, in {job_store.shown(parent_dir)}", flush=True)
            continue
        print(f"{job.model}: trains its {name} model first, in {job_store.shown(parent_dir)}", flush=True)
        # Log and trace are of this job's own steps.
        own = dataclasses.replace(options, log_batches=None, profile_steps=None)
        # Where to begin is the chief's to find; the others follow it.
        start = unfinished(parent, parent_dir) if options.devices.is_chief else None
        train(parent, parent_dir, start=start, options=own)


def _agreed(
    start: TrainingState | None, job: TrainingJob, job_dir: Path, model: "keras.Model", devices: "Devices"
) -> TrainingState:
    """What all hosts begin with: what the chief has found, or made, and left in the directory."""
    if devices.is_chief:
        job_store.publish(job_dir)
    devices.barrier()
    if not devices.is_chief:
        job_store.fetch(job_dir)
        start = sync_with_chief(job, job_dir, model)
    # The chief may change the directory only when all have read it.
    devices.barrier()
    assert start is not None  # noqa: S101 - the chief has one by now
    return start


def train(
    job: TrainingJob, job_dir: Path, *, start: TrainingState | None = None, options: RunOptions | None = None
) -> None:
    """Trains a job's model; that of the epoch that its recipe keeps is in job_dir/best.keras afterwards.

    Args:
      job: what to train.
      job_dir: an earlier job there is gone once this one's model and data are known to be good.
      start: where this job's training was left, if it was (see `unfinished`).
      options: how it runs.

    Raises:
      UserError: the loss is no longer a number, the model's filters do not fit the patches, a shard is corrupt, the
        state is another model's, the parents do not fit, the devices are not there.
      HostLostError: another host of the training is gone.
    """
    command_line.import_tensorflow()
    from trainer.distribution.devices import begin
    from trainer.training.epochs import new_model, run_epochs

    if job.model == models.PRETRAINED:
        from trainer.training import probe

    options = options or RunOptions()
    devices = begin(options.devices)
    manifest = Manifest.load(job.data_dir)
    patches = count_patches(manifest, job.parts.train, patch_frames=job.patch_frames, patch_mode=job.patch_mode)
    steps = -(-patches // job.batch_size)
    new = partial(new_model, job, mel_bands=manifest.mel_bands, steps=steps, options=options, devices=devices)
    model = new()
    if devices.is_chief:
        if start is None:
            init_filters.start_from_parents(model, job)
            if job.model == models.PRETRAINED and not job.rules.solves:
                probe.start(model, job)
            start = start_over(job, job_dir, model)
        elif start.variables:
            resume(job, job_dir, model, start, steps=steps)
    start = _agreed(start, job, job_dir, model, devices)
    if not start.variables:
        _train_parents(job, job_dir, options)
        # Anew: the random numbers of the first one have been followed by the parents'.
        model = new()
        if devices.is_chief:
            init_filters.start_from_own_parents(model, job, job_dir)
            start = TrainingState(variables=values_of(model))
            start.save(job_dir / STATE_FILE)
        start = _agreed(start, job, job_dir, model, devices)
    if options.command is not None and devices.is_chief:
        run_record.add(job_dir, job, start, command=options.command)
    validating = f"validating on {', '.join(job.parts.valid)}" if job.parts.valid else "without validation"
    print(
        f"{job.model}: {model.count_params():,} parameters, {patches} patches of {job.patch_frames} frames; "
        f"training on {', '.join(job.parts.train)}, {validating}; {devices.words}, "
        f"batches of {job.batch_size} in all",
        flush=True,
    )
    if job.rules.solves:
        history = probe.run(model, job, job_dir) if devices.is_chief else ()
    else:
        history = run_epochs(model, job, job_dir, start, options, steps=steps, patches=patches, devices=devices)
    if devices.is_chief:
        (job_dir / STATE_FILE).unlink()
        job_store.publish(job_dir)
    devices.barrier()
    checkpoint = job_store.shown(job_dir / training_job.CHECKPOINT_FILE)
    curves = f"tensorboard --logdir={job_store.shown(job_dir)}"
    print(f"{job.rules.describe_kept(history)}: {checkpoint} (curves: {curves})")


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
