"""The results of a cross-validation, as plain JSON."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrecords.manifest import Manifest
from trainer.evaluation import intervals
from trainer.evaluation.cross_validation import CrossValidation, Run
from trainer.evaluation.metrics import Predictions, summarize
from trainer.evaluation.pooling import PooledPredictions
from trainer.evaluation.saved_predictions import FoldPredictions
from trainer.evaluation.summary import KEPT_APART, data_warnings, groups_of
from trainer.training_job import TrainingJob

# Of a job, what says something of the data, or differs from run to run.
_NOT_OF_TRAINING = (
    "data_dir",
    "fingerprint",
    "model",
    "parts",
    "labels",
    "front_end",
    "statistics",
    "seed",
    "init_from",
)


def results(
    asked: CrossValidation,
    manifest: Manifest,
    job: TrainingJob,
    runs: Mapping[Run, FoldPredictions],
    pooled: PooledPredictions,
) -> dict[str, Any]:
    """Return what the tables and the page of a cross-validation show, as values that json.dumps takes.

    Args:
      asked: the cross-validation.
      manifest: of its dataset.
      job: of any of its runs.
      runs: the predictions of every run.
      pooled: the same, pooled.

    Returns:
      command: the command that made it.
      data, training, seeds: the dataset, how the models were trained, from which seeds.
      warnings: what a reader of the scores must know.
      models: {name: see `_model`}.
      comparisons: [{one, other, difference, interval}] of every pair; difference is one's pooled track accuracy less
        the other's, interval its 95 % interval over groups.
      tracks_most_wrong: [{track_id, label, wrong, predicted}], the worst first; wrong is the share of models and
        seeds that were, predicted how many of them gave which label.
    """
    right = pooled.over_seeds.argmax(axis=2) == pooled.labels
    drawn = intervals.bootstrap(right, pooled.group_numbers)
    without_patch = sum(manifest.tracks(["all"]).values()) - len(pooled.track_ids)
    return {
        "command": asked.command,
        "data": _data(asked, manifest, pooled, without_patch),
        "training": _training(job),
        "seeds": list(asked.seeds),
        "warnings": list(data_warnings(groups_of(manifest), without_patch).values()),
        "models": {
            name: _model(name, runs, pooled, intervals.interval(drawn[:, number]))
            for number, name in enumerate(pooled.models)
        },
        "comparisons": [
            {
                "one": pooled.models[one],
                "other": pooled.models[other],
                "difference": float(right[one].mean() - right[other].mean()),
                "interval": list(intervals.interval(drawn[:, one] - drawn[:, other])),
            }
            for one, other in itertools.combinations(range(len(pooled.models)), 2)
        ],
        "tracks_most_wrong": _tracks_most_wrong(pooled),
    }


def _data(asked: CrossValidation, manifest: Manifest, pooled: PooledPredictions, without_patch: int) -> dict[str, Any]:
    """chance: the accuracy of always answering the most common label of these tracks."""
    tracks = np.bincount(pooled.labels, minlength=len(pooled.label_names))
    return {
        "name": manifest.name,
        "data_dir": asked.data_dir,
        "fingerprint": asked.fingerprint,
        "tracks": len(pooled.track_ids),
        "tracks_without_patch": without_patch,
        "groups": len(set(pooled.groups)),
        "grouped": groups_of(manifest) == KEPT_APART,
        "folds": asked.folds,
        "label_names": list(pooled.label_names),
        "tracks_per_label": dict(zip(pooled.label_names, tracks.tolist(), strict=True)),
        "chance": float(tracks.max() / tracks.sum()),
    }


def _training(job: TrainingJob) -> dict[str, Any]:
    """The recipe and its numbers; augment: as the flag takes it; described: the same in words.

    validates: whether a fold chose the epoch, as opposed to having trained with the others.
    """
    training = {name: value for name, value in dataclasses.asdict(job).items() if name not in _NOT_OF_TRAINING}
    augmentation = training.pop("augmentation")
    plain = dataclasses.asdict(type(job.augmentation)())
    varied = [f"{name}={value:g}" for name, value in augmentation.items() if value != plain[name]]
    return training | {"augment": ",".join(varied), "described": job.described, "validates": bool(job.parts.valid)}


def _model(
    name: str, runs: Mapping[Run, FoldPredictions], pooled: PooledPredictions, interval: Sequence[float]
) -> dict[str, Any]:
    """A model's scores.

    Returns:
      parameters: of the model.
      patch_accuracy, track_accuracy, track_accuracy_vote: {mean, std} over folds and seeds; std is that of a sample
        (divided by one less than there are).
      pooled: {track_accuracy, interval, per_seed, macro_recall, macro_f1} of all tracks, of the probabilities' mean
        over seeds; the interval is over groups, per_seed of each seed alone.
      confusion_matrix, per_label: of the same, see metrics.Scores.
      runs: [{seed, fold, epochs, best_epoch, tracks, patches, patch_accuracy, track_accuracy, track_accuracy_vote}].
    """
    runs = {run: fold for run, fold in runs.items() if run.model == name}
    number = pooled.models.index(name)
    scores = summarize(Predictions(pooled.over_seeds[number], pooled.labels, pooled.track_ids, pooled.label_names))
    rows = [_run(run, fold) for run, fold in runs.items()]
    right = pooled.probabilities[number].argmax(axis=2) == pooled.labels
    return {
        "parameters": next(iter(runs.values())).parameters,
        **{score: _spread(rows, score) for score in ("patch_accuracy", "track_accuracy", "track_accuracy_vote")},
        "pooled": {
            "track_accuracy": scores.track_accuracy_mean,
            "interval": list(interval),
            "per_seed": right.mean(axis=1).tolist(),
            "macro_recall": scores.macro_recall,
            "macro_f1": scores.macro_f1,
        },
        "confusion_matrix": scores.confusion_matrix,
        "per_label": scores.per_label,
        "runs": rows,
    }


def _run(run: Run, fold: FoldPredictions) -> dict[str, Any]:
    scores = summarize(fold.predictions)
    return {
        "seed": run.seed,
        "fold": run.fold,
        "epochs": fold.epochs,
        "best_epoch": fold.best_epoch,
        "tracks": scores.tracks,
        "patches": scores.patches,
        "patch_accuracy": scores.patch_accuracy,
        "track_accuracy": scores.track_accuracy_mean,
        "track_accuracy_vote": scores.track_accuracy_vote,
    }


def _spread(rows: Sequence[Mapping[str, Any]], score: str) -> dict[str, float]:
    values = np.array([row[score] for row in rows])
    return {"mean": float(values.mean()), "std": float(values.std(ddof=1))}


def _tracks_most_wrong(pooled: PooledPredictions) -> list[dict[str, Any]]:
    predicted = pooled.probabilities.argmax(axis=3).reshape(-1, len(pooled.track_ids))
    wrong = (predicted != pooled.labels).mean(axis=0)
    order = np.argsort(-wrong, kind="stable")
    return [
        {
            "track_id": pooled.track_ids[track],
            "label": pooled.label_names[pooled.labels[track]],
            "wrong": float(wrong[track]),
            "predicted": {
                pooled.label_names[label]: count for label, count in Counter(predicted[:, track].tolist()).most_common()
            },
        }
        for track in order
        if wrong[track] > 0
    ]
