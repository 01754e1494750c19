import json
import math

import numpy as np
import pytest

from tools.ablation_rows import ABLATION, BASE, TUNING, Row
from tools.ablation_table import as_json, markdown, results
from trainer.cross_validation.pooling import PooledPredictions

ROWS = (BASE, Row("windows", ("--patch_mode=windows",)))
# Of two labels: what each seed says of the true one, for four tracks by two artists.
TRUE = {
    "base": [[0.9, 0.8, 0.7, 0.2], [0.9, 0.8, 0.4, 0.4]],
    "windows": [[0.6, 0.3, 0.3, 0.2], [0.6, 0.6, 0.4, 0.4]],
}


def pooled(true):
    labels = np.array([0, 1, 0, 1], np.int32)
    of_true = np.array(list(true.values()), np.float32)
    probabilities = np.where(
        np.arange(2) == labels[:, np.newaxis], of_true[..., np.newaxis], 1 - of_true[..., np.newaxis]
    )
    return PooledPredictions(
        track_ids=tuple("abcd"),
        labels=labels,
        groups=("one", "one", "other", "other"),
        folds=np.full(4, 2, np.int32),
        label_names=("pop", "rock"),
        models=tuple(true),
        seeds=tuple(range(of_true.shape[1])),
        probabilities=probabilities,
    )


@pytest.fixture
def found():
    return results(
        ROWS,
        pooled(TRUE),
        grouped=True,
        parameters={"base": 1234, "windows": 1234},
        seconds={"base": 61.4, "windows": None},
    )


def test_scores_are_of_the_probabilities_averaged_over_the_seeds(found):
    base, windows = found["rows"]
    assert (found["tracks"], found["groups"], found["chance"], found["seeds"]) == (4, 2, 0.5, [0, 1])
    assert base["per_seed"] == [0.75, 0.5] and windows["per_seed"] == [0.25, 0.5]
    # Averaged: 0.9, 0.8, 0.55, 0.3 and 0.6, 0.45, 0.35, 0.3.
    assert (base["accuracy"], windows["accuracy"]) == (0.75, 0.25)
    expected = -sum(map(math.log, (0.9, 0.8, 0.55, 0.3))) / 4
    assert base["log_loss"] == pytest.approx(expected, abs=1e-6)
    assert windows["log_loss"] == pytest.approx(-sum(map(math.log, (0.6, 0.45, 0.35, 0.3))) / 4, abs=1e-6)


def test_differences_are_to_the_base_and_drawn_by_artist(found):
    base, windows = found["rows"]
    assert base["difference"] == base["log_loss_difference"] == 0
    assert base["difference_interval"] == base["log_loss_difference_interval"] == [0, 0]
    assert windows["difference"] == -0.5
    # Each artist has one track that the base alone recognised, so that no draw differs.
    assert windows["difference_interval"] == [-0.5, -0.5]
    assert windows["log_loss_difference"] == pytest.approx(windows["log_loss"] - base["log_loss"])
    by_artist = [-math.log(0.6 * 0.45 / (0.9 * 0.8)) / 2, -math.log(0.35 * 0.3 / (0.55 * 0.3)) / 2]
    assert windows["log_loss_difference_interval"] == pytest.approx(sorted(by_artist), abs=1e-6)


def test_a_probability_of_zero_has_a_finite_loss():
    of_zero = pooled({"base": [[0.0, 1.0, 1.0, 1.0]]})
    (base,) = results([BASE], of_zero, grouped=True, parameters={"base": 1}, seconds={"base": 1.0})["rows"]
    assert base["log_loss"] == pytest.approx(-math.log(1e-7) / 4)


def test_markdown_shows_each_row_against_the_base(found):
    text = markdown(found)
    base, windows = (line for line in text.splitlines() if line.startswith(("| base ", "| windows ")))
    assert base.startswith(f"| base | {BASE.model} |  | 1,234 | 62.5 ± 17.7 | 75.0 | 50.0 to 100.0 |  |  | 0.533 |")
    assert base.endswith("|  |  | 61 |")
    assert "| `--patch_mode=windows` | 1,234 | 37.5 ± 17.7 | 25.0 | 0.0 to 50.0 | -50.0 | -50.0 to -50.0 |" in windows
    assert windows.endswith(" |  |")
    assert "4 tracks, 2 artists or other groups; seeds 0, 1; chance 50.0 %." in text
    assert text.count("\n## ") == 1
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(columns) == 1


def test_a_table_is_shown_for_the_rows_that_are_there(found):
    assert "## One switch a row" in markdown(found)
    rows = [row for row in TUNING if row not in ABLATION]
    named = pooled({"base": TRUE["base"], rows[0].name: TRUE["windows"]})
    parameters, seconds = dict.fromkeys(named.models, 1), dict.fromkeys(named.models, 1.0)
    text = markdown(results([BASE, rows[0]], named, grouped=False, parameters=parameters, seconds=seconds))
    tuning = text.partition("## The tuning of 4 models, ")[2]
    assert f"\n| {rows[0].name} | {rows[0].model} |" in tuning


def test_one_seed_has_no_spread():
    single = pooled({"base": TRUE["base"][:1]})
    found = results([BASE], single, grouped=True, parameters={"base": 1}, seconds={"base": 1.0})
    assert "| 75.0 | 75.0 | 50.0 to 100.0 |" in markdown(found)
    assert json.loads(as_json(found)) == found
