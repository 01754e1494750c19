"""How many of GTZAN's test clips a linear classifier names from the published features of MSD_musicnn.

python -m benchmarks.gtzan_musicnn --features=DIR [--json=FILE]

DIR holds taggram_train_valid_filtered.npz and taggram_test_filtered.npz: the activations of MSD_musicnn's 50 tags on
GTZAN's fault-filtered split, which J. Pons publishes with github.com/jordipons/sklearn-audio-transfer-learning: X
[rows, 50] and IDS [rows], a row for every second of a clip. A clip is the mean of its rows. Logistic regression on the
standardised means is fitted to the clips of the filtered training list alone, with the C that cross-validation by
artist on those clips prefers; the validation list is not used.

It is scored on all test clips, and on those whose artist, or song, is not among the training clips: 95 % intervals are
Wilson's over clips and a bootstrap over artists. What was published for the same split stands below, with its sources.

The features are as published, not made from the audio here; MSD_musicnn was trained on the Million Song Dataset, which
may hold recordings of GTZAN's.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from beam_preprocess.gtzan import facts
from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from trainer.evaluation import intervals
from trainer.reports.formatting import percent, percent_interval
from trainer.reports.tables import Table

TRAINING, TEST = "taggram_train_valid_filtered.npz", "taggram_test_filtered.npz"
_STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_FOLDS = 5
# Test accuracy in percent on the same 290 clips: (features, classifier and accuracy, source).
PUBLISHED = (
    ("musicnn, PCA and SVM", "77.2", "README of sklearn-audio-transfer-learning"),
    ("VGGish, PCA and SVM", "77.6", "README of sklearn-audio-transfer-learning"),
    ("SampleCNN transfer, PCA and SVM", "82.1", "README of sklearn-audio-transfer-learning"),
    ("MFCCs and SVM", "53.4", "README of sklearn-audio-transfer-learning"),
    ("PANNs CNN14, linear", "78.7", "EVAR, nttcslab/eval-audio-repr"),
    ("MERT, linear", "78.6", "MuQ, table 1"),
    ("M2D-CLAP 2025, linear", "86.3", "EVAR, nttcslab/eval-audio-repr"),
)

FLAGS = flags.FlagValues()
flags.DEFINE_string("features", "", "folder of the two published .npz files", flag_values=FLAGS)
flags.DEFINE_string("json", None, "file for the scores as JSON", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Fit to the training clips, score the test clips and print the table."""
    command_line.no_arguments(positional)
    if not flag_values.features:
        raise UserError("--features=DIR is needed (see --help)")
    folder = Path(flag_values.features)
    train, test = (load_clips(folder / name) for name in (TRAINING, TEST))
    result = score(_only(train, facts.split_lists("gtzan_filtered")["train"]), test)
    print(describe(result))
    if flag_values.json is not None:
        files.write_text(Path(flag_values.json), json.dumps(result, indent=1) + "\n")


def load_clips(path: Path) -> dict[str, np.ndarray]:
    """Return clip -> [50] float64, the mean over the rows of each clip of a published file.

    Raises:
      UserError: it cannot be read, or is no such file.
    """
    try:
        with np.load(path) as arrays:
            rows, ids = np.asarray(arrays["X"], np.float64), [facts.clip_of(str(name)) for name in arrays["IDS"]]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} does not hold X [rows, tags] and IDS [rows] ({error})") from None
    if rows.ndim != 2 or len(ids) != len(rows) or not np.isfinite(rows).all() or None in ids:
        raise UserError(f"{path} does not hold X [rows, tags], finite, and IDS [rows], each a clip of GTZAN")
    names = np.array(ids)
    return {str(clip): rows[names == clip].mean(axis=0) for clip in dict.fromkeys(names)}


def score(train: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the scores of a classifier that is fitted to some clips, on others.

    Args:
      train: clip -> [features].
      test: clip -> [features].

    Returns:
      {"train_clips", "C", "scores": [{"tracks", "artists", "accuracy", "wilson", "by_artist", "which"}, ...]}.
    """
    strength = _best_strength(train)
    model = _classifier(strength).fit(np.stack(list(train.values())), [facts.genre_of(clip) for clip in train])
    predicted = model.predict(np.stack(list(test.values())))
    right = {clip: genre == facts.genre_of(clip) for clip, genre in zip(test, predicted, strict=True)}
    heard = {facts.groups().get(clip, clip) for clip in train}
    new = {clip: value for clip, value in right.items() if facts.groups().get(clip, clip) not in heard}
    return {
        "train_clips": len(train),
        "C": strength,
        "scores": [
            {"which": "all test clips"} | _accuracy(right),
            {"which": "artists and songs not in training"} | _accuracy(new),
        ],
    }


def describe(result: dict[str, Any]) -> str:
    """Return the scores and the published figures as two tables of text."""
    rows = [
        (
            each["which"],
            str(each["tracks"]),
            percent(each["accuracy"]),
            percent_interval(each["wilson"]),
            percent_interval(each["by_artist"]),
        )
        for each in result["scores"]
    ]
    head = f"logistic regression, C = {result['C']:g}, on {result['train_clips']} training clips"
    own = Table(("MSD_musicnn's published tags", "clips", "accuracy", "over clips", "over artists"), rows)
    return "\n".join([head, own.text(), "", Table(("published for this split", "%", "source"), PUBLISHED).text()])


def _only(clips: dict[str, np.ndarray], paths: list[str]) -> dict[str, np.ndarray]:
    names = {facts.clip_of(path) for path in paths}
    if not (kept := {clip: features for clip, features in clips.items() if clip in names}):
        raise UserError(f"{TRAINING} has none of the clips of the filtered training list")
    return kept


def _best_strength(train: dict[str, np.ndarray]) -> float:
    """Return the C with the best accuracy on the training clips in folds that keep artists whole."""
    from sklearn.model_selection import GroupKFold, cross_val_score

    features, labels = np.stack(list(train.values())), [facts.genre_of(clip) for clip in train]
    groups = [facts.groups().get(clip, clip) for clip in train]
    means = {
        strength: cross_val_score(_classifier(strength), features, labels, groups=groups, cv=GroupKFold(_FOLDS)).mean()
        for strength in _STRENGTHS
    }
    return max(means, key=lambda strength: means[strength])


def _classifier(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))


def _accuracy(right: dict[str, bool]) -> dict[str, Any]:
    artists = intervals.number_groups([facts.groups().get(clip, clip) for clip in right])
    values = np.array(list(right.values()))
    drawn = intervals.bootstrap(values[np.newaxis], artists)
    return {
        "tracks": len(values),
        "artists": int(artists.max()) + 1,
        "accuracy": float(values.mean()),
        "wilson": intervals.wilson_interval(int(values.sum()), len(values)),
        "by_artist": intervals.interval(drawn[:, 0]),
    }


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
