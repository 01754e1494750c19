import dataclasses
import json

import numpy as np
import pytest

from trainer.evaluation import intervals, metrics
from trainer.evaluation.cross_validation import CrossValidation
from trainer.evaluation.metrics import Predictions
from trainer.evaluation.pooling import pool, read_tracks
from trainer.evaluation.results import results
from trainer.evaluation.saved_predictions import FoldPredictions


@dataclasses.dataclass(frozen=True)
class Made:
    """A cross-validation of made-up predictions, and its results."""

    data: object
    runs: dict
    pooled: object
    results: dict


@pytest.fixture(scope="module")
def made(tmp_path_factory, write_dataset, job_of):
    parts = ("fold_0", "fold_1", "fold_2")
    data = write_dataset(tmp_path_factory.mktemp("folds"), parts=parts, frames=(70, 250), tracks_per_label=4)
    asked = CrossValidation(str(data.path), "f" * 64, ("time", "black_box"), (0, 1, 2), 3, {}, "the command")
    job = job_of(data.path, "--augment=time_masks=2,gain_db=0")
    tracks = read_tracks(data.manifest, data.path, patch_frames=80)
    rng = np.random.default_rng(0)
    runs = {}
    for run in asked.runs():
        own = [record for record in data.records[f"fold_{run.fold}"] for _ in range(len(record.log_mel) // 80)]
        predictions = Predictions(
            probabilities=rng.dirichlet(np.ones(3), len(own)).astype(np.float32),
            labels=np.array([record.label for record in own], np.int32),
            track_ids=[record.track_id for record in own],
            label_names=data.manifest.labels,
        )
        runs[run] = FoldPredictions(predictions, 100 + len(run.model), epochs=9, best_epoch=1 + run.fold)
    pooled = pool(tracks, data.manifest.labels, {run: metrics.tracks(fold.predictions) for run, fold in runs.items()})
    return Made(data, runs, pooled, results(asked, data.manifest, job, runs, pooled))


def test_they_are_plain_json(made):
    assert json.loads(json.dumps(made.results)) == made.results
    assert list(made.results) == [
        "command",
        "data",
        "training",
        "seeds",
        "warnings",
        "models",
        "comparisons",
        "tracks_most_wrong",
    ]


def test_data_and_training(made):
    data, training = made.results["data"], made.results["training"]
    scored = [r for records in made.data.records.values() for r in records if len(r.log_mel) >= 80]
    assert (data["name"], data["data_dir"], data["folds"]) == ("tiny", str(made.data.path), 3)
    assert data["tracks"] == data["groups"] == len(scored) < 36
    assert data["tracks_without_patch"] == 36 - len(scored)
    assert data["grouped"] is True
    per_label = {name: sum(r.label == number for r in scored) for number, name in enumerate(data["label_names"])}
    assert data["tracks_per_label"] == per_label
    assert data["chance"] == pytest.approx(max(per_label.values()) / len(scored))
    assert made.results["warnings"] == [f"tracks shorter than a patch, not in the score: {36 - len(scored)}"]
    assert training["augment"] == "time_masks=2" and training["validates"] is True
    assert (training["patch_frames"], training["epochs"], training["batch_size"]) == (80, 2, 4)
    assert "tensorflow" in training["versions"]
    assert not {"seed", "model", "data_dir", "statistics"} & set(training)


def test_each_run_has_its_own_scores(made):
    for name, model in made.results["models"].items():
        assert model["parameters"] == 100 + len(name)
        assert [(row["seed"], row["fold"]) for row in model["runs"]] == [(s, f) for s in range(3) for f in range(3)]
        own = {run: fold for run, fold in made.runs.items() if run.model == name}
        for row, (run, fold) in zip(model["runs"], own.items(), strict=True):
            scores = metrics.summarize(fold.predictions)
            assert row == {
                "seed": run.seed,
                "fold": run.fold,
                "epochs": 9,
                "best_epoch": 1 + run.fold,
                "tracks": scores.tracks,
                "patches": scores.patches,
                "patch_accuracy": scores.patch_accuracy,
                "track_accuracy": scores.track_accuracy_mean,
                "track_accuracy_vote": scores.track_accuracy_vote,
            }
        for score in ("patch_accuracy", "track_accuracy", "track_accuracy_vote"):
            values = [row[score] for row in model["runs"]]
            assert model[score]["mean"] == pytest.approx(np.mean(values))
            assert model[score]["std"] == pytest.approx(np.std(values, ddof=1))


def test_pooled_scores_are_those_of_the_mean_over_seeds(made):
    for number, model in enumerate(made.results["models"].values()):
        probabilities = made.pooled.probabilities[number].astype(np.float64)
        given = probabilities.mean(axis=0).argmax(axis=1)
        pooled = model["pooled"]
        assert pooled["track_accuracy"] == pytest.approx(np.mean(given == made.pooled.labels))
        assert pooled["interval"][0] < pooled["track_accuracy"] < pooled["interval"][1]
        per_seed = (probabilities.argmax(axis=2) == made.pooled.labels).mean(axis=1)
        assert pooled["per_seed"] == pytest.approx(list(per_seed))
        confusion = metrics.confusion_matrix(made.pooled.labels, given, 3)
        assert model["confusion_matrix"] == confusion.tolist()
        assert model["per_label"]["jazz"]["recall"] == pytest.approx(confusion[1, 1] / confusion[1].sum())


def test_models_are_compared_on_the_same_draws(made):
    (pair,) = made.results["comparisons"]
    time, black_box = (model["pooled"]["track_accuracy"] for model in made.results["models"].values())
    assert (pair["one"], pair["other"]) == ("time", "black_box")
    assert pair["difference"] == pytest.approx(time - black_box)
    right = made.pooled.over_seeds.argmax(axis=2) == made.pooled.labels
    drawn = intervals.bootstrap(right, made.pooled.group_numbers)
    assert pair["interval"] == pytest.approx(intervals.interval(drawn[:, 0] - drawn[:, 1]))
    assert made.results["models"]["time"]["pooled"]["interval"] == pytest.approx(intervals.interval(drawn[:, 0]))


def test_tracks_most_often_wrong_come_first(made):
    rows = made.results["tracks_most_wrong"]
    shares = [row["wrong"] for row in rows]
    assert shares == sorted(shares, reverse=True) and shares[-1] > 0
    for row in rows:
        assert sum(row["predicted"].values()) == 6
        assert row["wrong"] == pytest.approx(1 - row["predicted"].get(row["label"], 0) / 6)
    track = made.pooled.track_ids.index(rows[0]["track_id"])
    given = made.pooled.probabilities[:, :, track].argmax(axis=2).ravel()
    assert rows[0]["predicted"] == {made.pooled.label_names[g]: int(np.sum(given == g)) for g in set(given.tolist())}
    right = (made.pooled.probabilities.argmax(axis=3) == made.pooled.labels).all(axis=(0, 1)).sum()
    assert len(rows) == len(made.pooled.track_ids) - right
