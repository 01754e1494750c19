import copy

import pytest

from trainer.reports.tables import markdown, text


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
    lines = markdown(results).splitlines()
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
    assert "warning" not in markdown(results)


def test_what_a_reader_must_know_is_told(results):
    results["warnings"] = ["no artists were given"]
    results["data"]["grouped"] = False
    assert "- warning: no artists were given\n" in markdown(results)
    assert ", artists not given, " in markdown(results)
    assert "warning: no artists were given" in text(results).splitlines()


def test_what_is_not_the_default_is_told(results):
    results["training"] |= {"augment": "time_masks=2", "model_options": {"filter_bands": 30, "filters": 16}}
    said = "- patches: 80 frames, time_masks=2\n- model options: filter_bands=30,filters=16\n"
    assert said in markdown(results) and "precision" not in markdown(results)
    results["training"]["precision"] = "float16"
    assert f"{said}- precision: float16\n" in markdown(results)


def test_that_there_was_no_validation_is_told(results):
    said = "validation: none, all folds but the tested one trained\n"
    assert said not in text(results)
    results["training"]["validates"] = False
    assert said in text(results) and f"- {said}" in markdown(results)


def test_one_model_is_compared_with_none(results):
    results |= {"comparisons": [], "models": {"time": results["models"]["time"]}}
    assert "Differences" not in markdown(results)
    assert "difference" not in text(results)


def test_columns_of_the_terminals_table_stand_below_each_other(results):
    lines = text(results).splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[0].split()[:2] == ["model", "parameters"]
    assert lines[1].endswith("55.0 to 69.0 %")


def test_names_that_are_not_unicode_are_escaped(results):
    odd = copy.deepcopy(results)
    odd["command"] += " \udcff"
    odd["data"]["name"] = "\udcff"
    assert "\\udcff" in markdown(odd).encode("utf-8").decode()
