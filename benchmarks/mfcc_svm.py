"""How many tracks a classical classifier recognises: statistics of MFCCs and a support vector machine.

python -m benchmarks.mfcc_svm --data_dir=OUT [--job_dirs=CV1,CV2,...] [--leave_out=FILE]

OUT is a dataset of folds; the tracks of each are classified by what was fitted to the others. A track is described by
20 MFCCs, which librosa makes of the records' log-mel values: their means and standard deviations over its frames, and
the standard deviations of their differences from frame to frame (the kind of features that Tzanetakis and Cook, Musical
genre classification of audio signals, 2002, brought in with GTZAN). Standardised, they go to scikit-learn's SVC as it
comes, with a radial kernel. Nothing is tuned.

With the --job_dirs of cross-validations of OUT, as trainer.compare takes them, the difference of each of their models
is given too. Intervals are a bootstrap over groups (artists), paired on the same draws. --leave_out names tracks that
are not scored, one track_id a line; they train like all others.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from trainer.evaluation import intervals
from trainer.evaluation.comparison import ExcludedTracks, scored
from trainer.evaluation.entries import Entry, entries_of, load_all
from trainer.evaluation.pooling import PooledPredictions
from trainer.reports.formatting import percent, percent_interval
from trainer.reports.tables import DIFFERENCE_COLUMNS, Table, difference_cells
from trainer.training_job import count_folds

NAME = "MFCCs, SVM"
_COEFFICIENTS = 20

FLAGS = flags.FlagValues()
flags.DEFINE_string("data_dir", "", "directory of the dataset, which has folds", flag_values=FLAGS)
flags.DEFINE_list("job_dirs", [], "directories of cross-validations of that dataset", flag_values=FLAGS)
flags.DEFINE_string("leave_out", None, "file of the track_ids that are not scored, one a line", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Classifies every fold, prints the accuracy and, where asked, how others differ."""
    command_line.no_arguments(positional)
    if not flag_values.data_dir:
        raise UserError("--data_dir=OUT is needed (see --help)")
    dataset = Dataset(flag_values.data_dir)
    count_folds(dataset.manifest)
    left_out = ExcludedTracks.read(Path(flag_values.leave_out)) if flag_values.leave_out is not None else None
    finished = load_all(map(Path, flag_values.job_dirs))
    if finished and finished[0].asked.fingerprint != dataset.manifest.fingerprint:
        raise UserError("--job_dirs must be cross-validations of --data_dir; they are of another dataset")
    own = classified(dataset)
    entries = entries_of(scored(finished, left_out)) if finished else []
    print("\n".join(accuracies(_only_scored(own, entries, left_out), entries)))


def classified(dataset: Dataset) -> PooledPredictions:
    """Every track's label as it was found by what was fitted to the other folds: with probability 1.

    Raises:
      ShardError: a shard is missing, torn or corrupt.
    """
    frames: dict[str, list[np.ndarray]] = {}
    told: dict[str, tuple[int, str, int]] = {}
    for fold, part in enumerate(dataset.manifest.parts):
        for record in dataset.records(part):
            frames.setdefault(record.track_id, []).append(record.log_mel)
            told[record.track_id] = (record.label, record.group, fold)
    labels, groups, folds = zip(*told.values(), strict=True)
    features = np.stack([_statistics(np.concatenate(own)) for own in frames.values()])
    found = predicted(features, np.array(labels), np.array(folds))
    return PooledPredictions(
        track_ids=tuple(told),
        labels=np.array(labels, np.int32),
        groups=groups,
        folds=np.array(folds, np.int32),
        label_names=dataset.manifest.labels,
        models=(NAME,),
        seeds=(0,),
        probabilities=np.eye(len(dataset.manifest.labels), dtype=np.float32)[found][np.newaxis, np.newaxis],
    )


def _statistics(log_mel: np.ndarray) -> np.ndarray:
    """[60] float64, of [frames, mel_bands]; without steps, their deviations are 0."""
    import librosa

    mfcc = librosa.feature.mfcc(S=log_mel.T.astype(np.float64), n_mfcc=_COEFFICIENTS)
    steps = np.diff(mfcc) if mfcc.shape[1] > 1 else np.zeros_like(mfcc)
    return np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1), steps.std(axis=1)])


def predicted(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """[tracks] integers: the label that each is given by what was fitted to the other folds.

    Args:
      features: [tracks, features].
      labels: [tracks] integers.
      folds: [tracks] integers, at least two different ones.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    found = np.zeros_like(labels)
    for fold in np.unique(folds):
        own = folds == fold
        found[own] = make_pipeline(StandardScaler(), SVC()).fit(features[~own], labels[~own]).predict(features[own])
    return found


def _only_scored(
    own: PooledPredictions, entries: Sequence[Entry], left_out: ExcludedTracks | None
) -> PooledPredictions:
    """Those of the tracks that the entries have, or of all but those left out."""
    if entries:
        return own.only(entries[0].finished.pooled.track_ids)
    names = left_out.track_ids if left_out else frozenset()
    if unknown := sorted(names.difference(own.track_ids)):
        raise UserError(f"--leave_out names {unknown[0]!r}, which is not in --data_dir")
    if not (track_ids := [name for name in own.track_ids if name not in names]):
        raise UserError("--leave_out names every track of --data_dir, so that none is left to score")
    return own.only(track_ids)


def accuracies(own: PooledPredictions, entries: Sequence[Entry]) -> list[str]:
    """Lines that say how many tracks the classifier recognises, and how the entries differ, on the same tracks."""
    right = np.stack([_right(own, NAME), *(_right(entry.finished.pooled, entry.model) for entry in entries)])
    drawn = intervals.bootstrap(right, own.group_numbers)
    lines = [
        f"{NAME}: {percent(right[0].mean())} of {len(own.track_ids)} tracks by {len(set(own.groups))} artists or other "
        f"groups, 95 % interval {percent_interval(intervals.interval(drawn[:, 0]))}"
    ]
    rows = [
        (
            entry.name,
            *difference_cells(
                {
                    "difference": right[number].mean() - right[0].mean(),
                    "interval": intervals.interval(drawn[:, number] - drawn[:, 0]),
                }
            ),
        )
        for number, entry in enumerate(entries, start=1)
    ]
    return [*lines, *(Table(("compared with it", *DIFFERENCE_COLUMNS), rows).text().splitlines() if rows else ())]


def _right(pooled: PooledPredictions, model: str) -> np.ndarray:
    """[tracks] bool."""
    return pooled.over_seeds[pooled.models.index(model)].argmax(axis=1) == pooled.labels


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
