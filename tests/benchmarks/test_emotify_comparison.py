import hashlib
import json
from pathlib import Path

import pytest

from trainer.cross_validation import compared_tables

ROOT = Path(__file__).parents[2]
LIST = ROOT / "benchmarks" / "emotify_development.txt"


@pytest.fixture(scope="module")
def comparison():
    return json.loads((ROOT / "benchmarks" / "emotify_comparison.json").read_text("utf-8"))


def test_it_scores_none_of_the_tracks_that_choices_were_made_on(comparison):
    data = comparison["data"]
    assert data["left_out"] == {"tracks": 80, "sha256": hashlib.sha256(LIST.read_bytes()).hexdigest()}
    assert data["tracks"] == 244 - 80 and data["grouped"]


def test_readme_shows_its_figures(comparison):
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    rows = [line for line in compared_tables.markdown(comparison).splitlines() if line.startswith("|")]
    assert len(rows) > 10
    assert [row for row in rows if row not in readme] == []
    # An entry that is not in the comparison any more has no row either.
    names = {row.split("|")[1].strip() for row in readme if ", augmented |" in row or ", modern |" in row}
    assert names == set(comparison["entries"])
