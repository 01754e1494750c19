import hashlib
import json
from pathlib import Path

import pytest

from trainer.cross_validation import compared_tables

ROOT = Path(__file__).parents[2]
LIST = ROOT / "benchmarks" / "emotify_development.txt"
FILES = ("emotify_comparison.json", "emotify_comparison_more.json")
TUNED = "emotify_comparison_tuned.json"


def load(name):
    return json.loads((ROOT / "benchmarks" / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def comparisons():
    return [load(name) for name in FILES]


def test_they_score_none_of_the_tracks_that_choices_were_made_on(comparisons):
    for data in (comparison["data"] for comparison in (*comparisons, load(TUNED))):
        assert data["left_out"] == {"tracks": 80, "sha256": hashlib.sha256(LIST.read_bytes()).hexdigest()}
        assert data["tracks"] == 244 - 80 and data["grouped"]


def test_what_both_trained_came_out_alike(comparisons):
    first, second = (comparison["entries"] for comparison in comparisons)
    shared = first.keys() & second.keys()
    assert shared == {"black_box, modern"}
    for name in shared:
        for score in ("track_accuracy", "interval", "over_seeds"):
            assert first[name][score] == second[name][score]


def test_readme_shows_their_figures(comparisons):
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    rows = {}
    for comparison in reversed(comparisons):
        for line in compared_tables.markdown(comparison).splitlines():
            if line.startswith("|"):
                # Of what both trained, the first one's cost.
                name, against = line.split("|")[1:3]
                rows[(name, against) if ", " in against else name] = line
    assert len(rows) > 20
    assert [row for row in rows.values() if row not in readme] == []
    # An entry that is not in a comparison any more has no row either.
    names = {row.split("|")[1].strip() for row in readme if ", augmented |" in row or ", modern |" in row}
    assert names == {name for comparison in (*comparisons, load(TUNED)) for name in comparison["entries"]}


def test_readme_shows_what_was_tuned():
    lines = compared_tables.markdown(load(TUNED)).splitlines()
    rows = [line for line in lines if line.startswith("|") and "learning_rate=" in line.split("|")[1]]
    assert len(rows) == 5
    assert set(rows) <= set((ROOT / "README.md").read_text("utf-8").splitlines())
