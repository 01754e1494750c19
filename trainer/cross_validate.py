"""Cross-validates models: every fold of a dataset is tested on by models that were trained without it.

python -m trainer.cross_validate --data_dir=OUT --job_dir=CV [--model=black_box,time | all] [--seeds=3] ...

OUT is a dataset of folds (beam_preprocess --folds=N). For each model, seed and fold there is one training, as by
python -m trainer.train --test_fold=K: fold K is the test, the fold before it chooses the epoch, the others train. With
--recipe=augmented, which keeps the last epoch, all folds but K train. The trainings run in --processes workers, and CV
then holds

  cross_validation.json           what was asked for
  <model>/seed_<s>/fold_<k>/      a job directory for each training, which trainer.evaluate and the other commands take,
                                  with the predictions of its test fold (predictions.npz) and what it printed (log.txt)
  predictions.npz                 the predictions of all tracks, each by models that never saw it
  results.json, results.md        accuracies over folds and seeds and of the pooled predictions, the differences between
                                  models, both with 95 % intervals over groups (artists); in results.json also the
                                  tracks most often wrong
  report.html                     all of it as a page that needs no network, with what the filters have learned

A cross-validation that was stopped, however it was, goes on when the same command is given again: what is finished is
kept, a training under way goes on from its last saved state. More models or seeds may be added to one in the same way,
but see below. --overwrite starts over.

The filters of time_frequency_init are those of the time and frequency models of the same seed and fold where both are
among the models; else each of its trainings makes its own first. What has begun with its own is not mixed with others:
to add the last of the two later, CV/time_frequency_init is to be deleted, and its trainings are done again.
"""

import dataclasses
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tfrecords import shard_cache
from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from tfrecords.manifest import Manifest
from trainer import config, job_store, models, settings, training_job
from trainer.config import TrainConfig
from trainer.evaluation import cross_validation, fold_workers, metrics, results
from trainer.evaluation.cross_validation import CrossValidation, Run
from trainer.evaluation.folds import FoldRun
from trainer.evaluation.pooling import pool, read_tracks
from trainer.evaluation.saved_predictions import PREDICTIONS_FILE, FoldPredictions
from trainer.reports import tables
from trainer.reports.page import AudioLinks
from trainer.train import absolute, new_job
from trainer.training.run_options import RunOptions
from trainer.training_job import TrainingJob, count_folds

# Settings that the flags --model and --seeds give each training another value of.
_VARIED = ("model", "seed")
# A worker has no other say in how its training runs.
_NOT_FOR_MANY = ("distribution", "tpu", "jit_compile", "log_batches", "profile_steps")

FLAGS = flags.FlagValues()
flags.DEFINE_string("data_dir", "", "directory of the dataset, which has folds", flag_values=FLAGS)
flags.DEFINE_string("job_dir", "", "directory for the trainings and the results", flag_values=FLAGS)
flags.DEFINE_list(
    "model", ["black_box"], f"some of {', '.join(models.MODELS)}, or all (but {models.PRETRAINED})", flag_values=FLAGS
)
flags.DEFINE_integer(
    "seeds", 1, "number of seeds (0, 1, ...); every model is trained once for each", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_integer(
    "processes",
    None,
    "trainings at a time, which share the cores; by default one per core",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_bool("overwrite", False, "start over in a job_dir that holds a cross-validation", flag_values=FLAGS)
flags.DEFINE_string(
    "audio_dir",
    None,
    "directory of the tracks' audio, for links in the report; by default where preprocessing found it",
    flag_values=FLAGS,
)
config.define_flags(FLAGS, skip=_VARIED)
settings.define_flags(RunOptions, FLAGS, skip=_NOT_FOR_MANY)
shard_cache.define_flags(FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Checks everything, trains what is left, writes the results and prints them."""
    command_line.no_arguments(positional)
    shard_cache.use_flags(flag_values)
    if not flag_values.data_dir or not flag_values.job_dir:
        raise UserError("--data_dir=OUT and --job_dir=CV are needed (see --help)")
    # A folder that is not there is told of now, not when all is trained.
    AudioLinks(flag_values.data_dir, flag_values.audio_dir)
    job_store.check_local(flag_values.job_dir)
    cv_dir = Path(flag_values.job_dir)
    manifest = Manifest.load(flag_values.data_dir)
    names = _model_names(flag_values)
    train_config = config.from_flags(flag_values, skip=_VARIED, model=names[0])
    asked = _asked(flag_values, train_config, manifest, names)
    fold_runs = [_fold_run(flag_values, train_config, asked, run) for run in asked.runs()]
    training_job.make_dir(cv_dir, "job_dir")
    with training_job.lock_job_dir(cv_dir):
        _check_directory(asked, cv_dir, fold_runs, overwrite=flag_values.overwrite)
        left = [each for each in fold_runs if flag_values.overwrite or not each.is_done]
        fold_workers.check_models(left, mel_bands=manifest.mel_bands)
        if flag_values.overwrite:
            cross_validation.clear(cv_dir)
        asked.save(cv_dir)
        _train(fold_runs, processes=flag_values.processes)
        _finish(asked, manifest, cv_dir, fold_runs, flag_values.audio_dir)


def _model_names(flag_values: flags.FlagValues) -> list[str]:
    names = list(models.FROM_SCRATCH) if flag_values.model == ["all"] else flag_values.model
    if "all" in names:
        raise UserError(f"--model=all has every model already, got {','.join(names)!r}; write --model=all")
    for name in names:
        models.check_name(name)
    if len(set(names)) < len(names) or not names:
        raise UserError(f"--model must name different models, got {','.join(names)!r}")
    return names


def _asked(
    flag_values: flags.FlagValues, train_config: TrainConfig, manifest: Manifest, names: Sequence[str]
) -> CrossValidation:
    given = [flag_values[name].serialize() for name in flag_values if flag_values[name].present and name != "overwrite"]
    folds = count_folds(manifest)
    return CrossValidation(
        data_dir=absolute(flag_values.data_dir),
        fingerprint=manifest.fingerprint,
        models=tuple(names),
        seeds=tuple(range(flag_values.seeds)),
        folds=folds,
        flags=settings.to_flags(train_config, skip=_VARIED),
        command=shlex.join(["python", "-m", "trainer.cross_validate", *given]),
    )


def _fold_run(flag_values: flags.FlagValues, train_config: TrainConfig, asked: CrossValidation, run: Run) -> FoldRun:
    cv_dir, parents = Path(flag_values.job_dir), None
    if run.model == models.WITH_PARENTS and {"time", "frequency"} <= set(asked.models):
        # Of the same fold: they may know no track that their child is not trained on.
        own = [dataclasses.replace(run, model=model).job_dir(cv_dir) for model in ("time", "frequency")]
        parents = (own[0], own[1])
    job = job_of_run(train_config, asked.data_dir, run)
    options = RunOptions(**settings.from_flags(RunOptions, flag_values, skip=_NOT_FOR_MANY))
    return FoldRun(run, job, run.job_dir(cv_dir), options.save_every_s, parents)


def job_of_run(train_config: TrainConfig, data_dir: str | Path, run: Run) -> TrainingJob:
    """Return the job that trainer.train makes of the same settings, for a run's model, seed and test fold.

    Raises:
      UserError: as trainer.train.new_job.
    """
    return new_job(dataclasses.replace(train_config, model=run.model, seed=run.seed), data_dir, test_fold=run.fold)


def _check_directory(asked: CrossValidation, cv_dir: Path, fold_runs: Sequence[FoldRun], *, overwrite: bool) -> None:
    """Raises UserError when the directory holds something else; all of a cross-validation may be overwritten."""
    if (cv_dir / training_job.CONFIG_FILE).exists():
        raise UserError(f"{cv_dir} holds a training job; choose another --job_dir")
    if not overwrite:
        if (cv_dir / cross_validation.CROSS_VALIDATION_FILE).exists():
            asked.check_continues(CrossValidation.load(cv_dir), cv_dir)
        for each in fold_runs:
            each.check_directory()
    cross_validation.check_own_files(cv_dir)


def _train(fold_runs: Sequence[FoldRun], *, processes: int | None) -> None:
    """Does the runs that are not done yet, on all cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = min(processes or cores, len(fold_runs))
    fold_workers.carry_out(fold_runs, processes=at_once, threads=max(1, cores // at_once))


def _finish(
    asked: CrossValidation, manifest: Manifest, cv_dir: Path, fold_runs: Sequence[FoldRun], audio_dir: str | None
) -> None:
    """Pools the predictions, writes the results and prints them."""
    from trainer.reports.cross_validation import write_report

    # As they were trained, whichever versions of the libraries are here now.
    jobs = [TrainingJob.load(each.job_dir) for each in fold_runs]
    job = dataclasses.replace(jobs[0], versions=_versions(jobs))
    tracks = read_tracks(manifest, asked.data_dir, patch_frames=job.min_frames)
    runs = {each.run: FoldPredictions.load(each.job_dir / PREDICTIONS_FILE) for each in fold_runs}
    pooled = pool(tracks, job.labels, {run: metrics.tracks(fold.predictions) for run, fold in runs.items()})
    found = results.results(asked, manifest, job, runs, pooled)
    pooled.save(cv_dir / cross_validation.POOLED_FILE)
    document = tables.cross_validation(found)
    files.write_text(cv_dir / cross_validation.TABLE_FILE, document.markdown())
    files.write_text(cv_dir / cross_validation.RESULTS_FILE, json.dumps(found, indent=1) + "\n")
    print(f"\n{document.text()}\n\nresults: {cv_dir / cross_validation.TABLE_FILE}")
    print(f"report: {write_report(cv_dir, audio_dir=audio_dir)}")


def _versions(jobs: Sequence[TrainingJob]) -> dict[str, str]:
    """Of the libraries, by their names: several where not all trainings had the same."""
    names = dict.fromkeys(name for job in jobs for name in job.versions)
    return {name: " and ".join(dict.fromkeys(filter(None, (job.versions.get(name) for job in jobs)))) for name in names}


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
