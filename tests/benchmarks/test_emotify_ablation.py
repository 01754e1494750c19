import json
from pathlib import Path

import pytest

from tools import ablation_rows, ablation_table

ROOT = Path(__file__).parents[2]
LIST = ROOT / "benchmarks" / "emotify_development.txt"


@pytest.fixture(scope="module")
def found():
    return json.loads((ROOT / "benchmarks" / "emotify_ablation.json").read_text("utf-8"))


def test_it_scores_the_development_tracks(found):
    assert found["tracks"] == len(LIST.read_text("utf-8").split()) and found["grouped"]


def test_it_has_every_row_as_it_is_now_trained(found):
    rows = {row.name: row for table in ablation_rows.TABLES.values() for row in table}
    assert {row["name"]: (row["model"], tuple(row["flags"])) for row in found["rows"]} == {
        name: (row.model, row.flags) for name, row in rows.items()
    }


def test_readme_shows_its_figures(found):
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    lines = [line for line in ablation_table.markdown(found).splitlines() if line.startswith("|")]
    assert len(lines) > 20
    assert [line for line in lines if line not in readme] == []
