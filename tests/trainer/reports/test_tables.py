import copy

import numpy as np
import pytest

from trainer.evaluation import metrics
from trainer.evaluation.summary import NewGroups, Summary
from trainer.reports import tables


@pytest.fixture
def results():
    def model(parameters, pooled, interval):
        return {
            "parameters": parameters,
            "patch_accuracy": {"mean": 0.5123, "std": 0.0456},
            "track_accuracy": {"mean": 0.6, "std": 0.1},
            "track_accuracy_vote": {"mean": 0.59, "std": 0.1},
            "pooled": {"track_accuracy": pooled, "interval": interval, "per_seed": [pooled]},
        }

    return {
        "command": "python -m trainer.cross_validate --data_dir=DATA --job_dir='C V' --model=black_box,time",
        "data": {
            "name": "emotify",
            "fingerprint": "0123456789abcdef" * 4,
            "tracks": 244,
            "groups": 81,
            "grouped": True,
            "folds": 10,
            "label_names": ["a", "b", "c", "d"],
            "chance": 0.25,
        },
        "training": {
            "recipe": "modern",
            "described": "modern: Adam, learning rate 0.001",
            "patch_frames": 80,
            "augment": "",
            "model_options": {},
            "versions": {"keras": "3.15"},
        },
        "seeds": [0, 1],
        "warnings": [],
        "models": {
            "black_box": model(3_275_312, 0.62345, [0.55, 0.69]),
            "time": model(7_336, 0.5, [0.4, 0.6]),
            "frequency": model(3_368, 0.25, [0.2, 0.3]),
        },
        "comparisons": [
            {"one": "black_box", "other": "time", "difference": 0.12345, "interval": [0.01, 0.2]},
            {"one": "black_box", "other": "frequency", "difference": 0.0, "interval": [0.0, 0.0]},
            {"one": "time", "other": "frequency", "difference": -0.25, "interval": [-0.3, 0.001]},
        ],
        "tracks_most_wrong": [],
    }


def test_markdown(results):
    lines = tables.cross_validation(results).markdown().splitlines()
    assert lines[0] == "# Cross-validation on emotify"
    assert lines[2:6] == [
        "| model | parameters | patch accuracy | track accuracy | pooled track accuracy | 95 % interval |",
        "| --- | --- | --- | --- | --- | --- |",
        "| black_box | 3,275,312 | 51.2 ± 4.6 % | 60.0 ± 10.0 % | 62.3 % | 55.0 to 69.0 % |",
        "| time | 7,336 | 51.2 ± 4.6 % | 60.0 ± 10.0 % | 50.0 % | 40.0 to 60.0 % |",
    ]
    assert "of these trained models: other trainings (seeds, folds) would vary the differences further" in "".join(
        lines
    )
    assert "| black_box - time | +12.3 | +1.0 to +20.0 | yes |" in lines
    assert "| black_box - frequency | +0.0 | +0.0 to +0.0 | no |" in lines
    assert "| time - frequency | -25.0 | -30.0 to +0.1 | no |" in lines
    for line in (
        "- data: emotify, 244 tracks of 4 labels, 81 artists or other groups, 10 folds, seeds 0, 1; "
        "fingerprint 0123456789ab",
        "- chance: 25.0 % (always the most common label)",
        "- training: modern: Adam, learning rate 0.001",
        "- patches: 80 frames, not augmented",
        "- versions: keras 3.15",
        results["command"],
    ):
        assert line in lines
    assert "warning" not in tables.cross_validation(results).markdown()


def test_what_a_reader_must_know_is_told(results):
    results["warnings"] = ["no artists were given"]
    results["data"]["grouped"] = False
    assert "- warning: no artists were given\n" in tables.cross_validation(results).markdown()
    assert ", artists not given, " in tables.cross_validation(results).markdown()
    assert "warning: no artists were given" in tables.cross_validation(results).text().splitlines()


def test_what_is_not_the_default_is_told(results):
    results["training"] |= {"augment": "time_masks=2", "model_options": {"filter_bands": 30, "filters": 16}}
    said = "- patches: 80 frames, time_masks=2\n- model options: filter_bands=30,filters=16\n"
    assert (
        said in tables.cross_validation(results).markdown()
        and "precision" not in tables.cross_validation(results).markdown()
    )
    results["training"]["precision"] = "float16"
    assert f"{said}- precision: float16\n" in tables.cross_validation(results).markdown()


def test_that_there_was_no_validation_is_told(results):
    said = "validation: none, all folds but the tested one trained\n"
    assert said not in tables.cross_validation(results).text()
    results["training"]["validates"] = False
    assert (
        said in tables.cross_validation(results).text() and f"- {said}" in tables.cross_validation(results).markdown()
    )


def test_one_model_is_compared_with_none(results):
    results |= {"comparisons": [], "models": {"time": results["models"]["time"]}}
    assert "Differences" not in tables.cross_validation(results).markdown()
    assert "difference" not in tables.cross_validation(results).text()


def test_columns_of_the_terminals_table_stand_below_each_other(results):
    lines = tables.cross_validation(results).text().splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[0].split()[:2] == ["model", "parameters"]
    assert lines[1].endswith("55.0 to 69.0 %")


def test_names_that_are_not_unicode_are_escaped(results):
    odd = copy.deepcopy(results)
    odd["command"] += " \udcff"
    odd["data"]["name"] = "\udcff"
    assert "\\udcff" in tables.cross_validation(odd).markdown().encode("utf-8").decode()


def summary_of(*guesses, new_groups=None):
    labels = np.array([0, 0, 1], np.int32)
    names = ("blues", "\udcff", "jazz")
    predictions = metrics.Predictions(np.eye(3, dtype=np.float32)[list(guesses)], labels, ["a", "b", "c"], names)
    made = {"data_dir": "DATA", "parts": ("test",), "model": "time", "recipe": "modern", "seed": 0}
    of_data = {"seen_in_training": False, "groups": "torn", "tracks_without_patch": 0}
    return Summary(scores=metrics.summarize(predictions), **made, **of_data, new_groups=new_groups)


def test_an_evaluation():
    lines = tables.evaluation(summary_of(0, 1, 1)).splitlines()
    assert lines[0].split() == ["genre", "tracks", "accuracy", "precision", "recall", "F1"]
    assert lines[2].split() == ["blues", "2", "50.0", "%", "100.0", "%", "50.0", "%", "0.667"]
    assert lines[4].split() == ["jazz", "0", "-", "0.0", "%", "-", "0.000"]
    assert lines[-1].split() == ["overall", "3", "66.7", "%", "75.0", "%", "0.667"]
    assert len({len(line) for line in lines}) == 1
    assert lines[3].startswith(r"\udcff ")
    assert set(lines[1]) == set(lines[5]) == {"-", " "}


def test_an_evaluation_of_a_leaking_split():
    scores = summary_of(1, 0, 1).scores
    new = (NewGroups("training", ["A"], 1, scores), NewGroups("training and validation", ["A", "B"], 3, None))
    lines = tables.evaluation(summary_of(0, 0, 1, new_groups=new)).splitlines()
    assert lines[-2].split() == ["overall", "3", "100.0", "%", "100.0", "%", "1.000"]
    assert lines[-1].split() == ["artists", "new", "to", "training", "3", "66.7", "%", "75.0", "%", "0.667"]
    assert set(lines[-3]) == set(lines[1]) == {"-", " "}


@pytest.fixture
def compared():
    def entry(model, recipe, seeds, core_seconds, rounds, accuracy, std):
        return {
            "model": model,
            "recipe": recipe,
            "flags": "",
            "training": {"described": f"{recipe}: Adam", "patch_frames": 80, "augment": ""},
            "seeds": seeds,
            "parameters": 3_275_312,
            "core_seconds": core_seconds,
            "predictions_per_s": rounds and {"median": rounds[0], "rounds": rounds},
            "track_accuracy": accuracy,
            "interval": [accuracy - 0.1, accuracy + 0.1],
            "over_seeds": {"mean": accuracy - 0.01, "std": std, "each": []},
        }

    return {
        "command": "python -m trainer.compare --job_dirs=A,B --output_dir='C V'",
        "data": {
            "name": "emotify",
            "fingerprint": "0123456789abcdef" * 4,
            "tracks": 164,
            "groups": 54,
            "grouped": True,
            "folds": 5,
            "label_names": ["a", "b", "c", "d"],
            "chance": 0.25,
            "tracks_without_patch": 0,
            "left_out": {"tracks": 80, "sha256": "fedcba98" * 8},
        },
        "warnings": [],
        "entries": {
            "cnn, augmented": entry(
                "cnn",
                "augmented",
                [0, 1],
                {"mean": 1234.5, "measured": 10, "trainings": 10},
                [1234.5, 1000.0, 1500.0],
                0.7,
                0.0123,
            ),
            "cnn, modern": entry(
                "cnn", "modern", [0, 1], {"mean": 61.7, "measured": 9, "trainings": 10}, [99.6, 90.0, 100.0], 0.6, 0.02
            ),
            "time, modern": entry(
                "time", "modern", [0], {"mean": None, "measured": 0, "trainings": 5}, None, 0.5, None
            ),
        },
        "comparisons": [
            {"one": "cnn, augmented", "other": "time, modern", "difference": 0.2, "interval": [0.01, 0.3]},
            {"one": "cnn, modern", "other": "time, modern", "difference": 0.1, "interval": [-0.02, 0.2]},
        ],
    }


GOLDEN = """\
# Comparison on emotify

| model | parameters | training, core s | predictions/s | track accuracy | 95 % interval | accuracy per seed | seeds |
| --- | --- | --- | --- | --- | --- | --- | --- |
| cnn, augmented | 3,275,312 | 1,234 | 1,234 | 70.0 % | 60.0 to 80.0 % | 69.0 ± 1.2 % | 2 |
| cnn, modern | 3,275,312 | 62 (9 of 10) | 100 | 60.0 % | 50.0 to 70.0 % | 59.0 ± 2.0 % | 2 |
| time, modern | 3,275,312 | \N{EN DASH} | \N{EN DASH} | 50.0 % | 40.0 to 60.0 % | 49.0 % | 1 |

Differences of track accuracy, paired on the same tracks and draws. The intervals are of these trained models: other \
trainings (seeds, folds) would vary the differences further. Of many pairs, some exclude 0 by chance.

| model | against | difference in points | 95 % interval | excludes 0 |
| --- | --- | --- | --- | --- |
| cnn, augmented | time, modern | +20.0 | +1.0 to +30.0 | yes |
| cnn, modern | time, modern | +10.0 | -2.0 to +20.0 | no |

Each track is scored once, by the models that were trained without it, probabilities averaged over its patches and \
over the seeds; the interval is a bootstrap over groups. Per seed: mean ± standard deviation over the seeds, each \
alone. Macro recall and F1 count every genre alike. \
Training: processor time of the process of one training, all threads together, the mean over folds and seeds \
of those that were never interrupted. Predictions: 30 s clips through the model, from normalised patches to \
probabilities.

- scored: 164 tracks of emotify, 4 labels, 54 artists or other groups, 5 folds; fingerprint 0123456789ab
- chance: 25.0 % (always the most common label)
- left out: 80 tracks, by a list with SHA-256 fedcba98fedc
- predictions/s: medians of 3 rounds, which lie up to 1.5 times apart
- augmented: Adam; patches of 80 frames, not augmented
- modern: Adam; patches of 80 frames, not augmented

```
python -m trainer.compare --job_dirs=A,B --output_dir='C V'
```
"""


def test_markdown_of_a_comparison(compared):
    assert tables.comparison(compared).markdown() == GOLDEN


def test_what_a_reader_must_know_is_told_of_a_comparison(compared):
    compared["data"] |= {"grouped": False, "left_out": None, "tracks_without_patch": 3, "name": "\udcff"}
    compared["warnings"] = ["no artists were given"]
    compared["entries"]["time, modern"]["flags"] = "epochs=60"
    lines = tables.comparison(compared).markdown().encode("utf-8").decode().splitlines()
    assert "- warning: no artists were given" in lines
    assert "- without a patch: 3 tracks are too short for some of the models" in lines
    assert "- modern (epochs=60): Adam; patches of 80 frames, not augmented" in lines
    assert not [line for line in lines if "left out" in line]
    assert "- scored: 164 tracks of \\udcff, 4 labels, artists not given, 5 folds; fingerprint 0123456789ab" in lines


def test_each_way_of_training_by_one_recipe_is_told(compared):
    compared["entries"]["time, modern"]["training"] = {
        "described": "modern: Adam; 5 epochs",
        "patch_frames": 80,
        "augment": "gain_db=6",
        "model_options": {"filters": 64},
        "precision": "bfloat16",
    }
    lines = tables.comparison(compared).markdown().splitlines()
    assert "- modern, cnn: Adam; patches of 80 frames, not augmented" in lines
    words = "Adam; 5 epochs; patches of 80 frames, gain_db=6; model options filters=64; precision bfloat16"
    assert f"- modern, time: {words}" in lines


def test_one_entry_is_compared_with_none(compared):
    compared["comparisons"] = []
    assert (
        "Differences" not in tables.comparison(compared).markdown()
        and "difference" not in tables.comparison(compared).text()
    )


def test_scores_that_count_genres_alike_stand_last_where_all_have_them(compared):
    names = list(compared["entries"])
    scores = [{"macro_recall": 0.5, "macro_f1": 0.25}] + [{"macro_recall": 1.0, "macro_f1": 0.75}] * (len(names) - 1)
    entries = {name: compared["entries"][name] | own for name, own in zip(names, scores, strict=True)}
    table = tables.comparison(compared | {"entries": entries}).models
    assert table.columns[-2:] == ("macro recall", "macro F1") and table.rows[0][-2:] == ("50.0 %", "0.250")
    del entries[names[0]]["macro_recall"]
    assert tables.comparison(compared | {"entries": entries}).models.columns[-1] == "seeds"


def test_columns_of_the_terminals_table_stand_below_each_other_of_a_comparison(compared):
    lines = tables.comparison(compared).text().splitlines()
    assert len({len(line) for line in lines[:4]}) == len({len(line) for line in lines[5:8]}) == 1
    assert lines[5].split()[:2] == ["model", "against"]
    assert lines[9].startswith("scored: 164 tracks")
