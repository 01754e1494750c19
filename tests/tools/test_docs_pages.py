import json

import pytest

from tfrecords.common.command_line import UserError
from tools import docs_pages

PAGE = """# Page

```bash run last=1
echo first; echo "$PWD"
```

```python run
print(open("kept").read())
```
"""


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(docs_pages, "RESULTS", tmp_path)
    data = {"title": "Speed", "commands": ["run it"], "measured": "today", "columns": ["a", "b"]}
    (tmp_path / "speed.json").write_text(json.dumps(data | {"rows": [["1", "2"], ["3", "4"]]}))


def test_a_table_says_what_made_it_and_is_replaced_by_the_next(results):
    written = docs_pages.with_tables("before\n<!-- table: speed rows=1 columns=1 -->\n\nafter\n<!-- end -->\n")
    assert "Speed (today, by `run it`):\n\n| b |\n| --- |\n| 4 |\n" in written
    assert written.startswith("before\n") and written.endswith("<!-- end -->\n") and "after" not in written
    assert docs_pages.with_tables(written) == written


def test_a_mark_without_an_end_takes_nothing_after_it(results):
    text = "<!-- table: speed -->\n\nkept\n\n<!-- table: speed rows=0 -->\n<!-- end -->\n"
    assert docs_pages.with_tables(text).count("kept") == 1


def test_tables_of_a_comparison_are_those_that_the_command_writes():
    assert "| cnn, augmented | 186,724 |" in docs_pages.result_table("emotify_comparison")
    assert docs_pages.result_table("emotify_comparison", "differences").startswith("| model | against |")


def test_blocks_are_run_once_and_show_what_they_print(tmp_path):
    page = PAGE.replace("echo first", "date +%N > kept; echo first")
    shown = docs_pages.with_outputs(page, tmp_path / "run")
    kept = (tmp_path / "run" / "kept").read_text().strip()
    assert "```text\n...\n/home/you/music\n```" in shown and f"```text\n{kept}\n```" in shown
    assert docs_pages.with_outputs(page, tmp_path / "run") == shown
    other = docs_pages.with_outputs(page.replace("first", "second"), tmp_path / "run")
    assert kept not in other


def test_another_status_than_the_expected_one_is_an_error(tmp_path):
    docs_pages.with_outputs("```bash run status=3\nexit 3\n```\n", tmp_path / "one")
    with pytest.raises(UserError, match="status 3 of"):
        docs_pages.with_outputs("```bash run\nexit 3\n```\n", tmp_path / "other")


def test_every_command_and_flag_has_its_place():
    pages = docs_pages.command_pages()
    assert set(pages) == set(docs_pages.COMMAND_PAGES)
    assert "## python -m beam_preprocess.gtzan\n" in pages["beam_preprocess"]
    assert "| `--num_shards` |" in pages["beam_preprocess"] and "| `--mirror` |" in pages["beam_preprocess"]
    assert "| `--augment` |" in pages["trainer"]
