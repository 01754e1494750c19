"""README and the pages of docs/: links lead somewhere, commands parse, examples run, tables are the committed ones."""

import copy
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from beam_preprocess import synthesize_dataset
from tools import docs_pages

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = docs_pages.pages()
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)
_INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )?(?:python -m|make) [^`]+)`")
# Parts of Beam, of pip and the like have flags of their own.
TAKES_FILES = ("tfrecords", "trainer.predict", "trainer.similar")
_OURS = ("tfrecords", "beam_preprocess", "trainer", "beam_predict", "tools", "benchmarks")


def blocks(text, *languages):
    return [code for language, code in _FENCE.findall(text) if language in languages]


def commands(text):
    """Every command line of a page, in words."""
    lines = [line for code in blocks(text, "bash") for line in code.replace("\\\n", " ").splitlines()]
    for line in [*lines, *_INLINE.findall(_FENCE.sub("", text))]:
        words = shlex.split(line, comments=True)
        while words:
            end = next((at for at, word in enumerate(words) if word in ("&&", "|", ";")), len(words))
            command, words = words[:end], words[end + 1 :]
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0], re.S):
                command = command[1:]
            if command:
                yield command


def check_python(words):
    name = words[2]
    if name.partition(".")[0] not in _OURS:
        return
    module = docs_pages.command_module(name)
    if not hasattr(module, "FLAGS"):
        assert not words[3:], words
        return
    passes_on = name in ("beam_preprocess", "beam_preprocess.audit", "beam_predict")
    # A copy: other tests use the command's own.
    values = copy.deepcopy(module.FLAGS)
    values.set_gnu_getopt(True)
    if "--help" not in words:
        rest = values(words[2:], known_only=passes_on)[1:]
        # What goes on to Beam are flags; only some commands take other words.
        assert all(word.startswith("-") for word in rest) or name in TAKES_FILES, (words, rest)


def check_make(words):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for word in words[1:]:
        if "=" in word:
            assert re.search(rf"^{word.partition('=')[0]} \??[:]?=", makefile, re.M), words
        else:
            assert re.search(rf"^{re.escape(word.replace('.venv', '$(VENV)'))}:", makefile, re.M), words


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_parses_with_its_own_flags(page):
    for words in commands(page.read_text("utf-8")):
        if words[:2] == ["python", "-m"]:
            check_python(words)
        elif words[0] == "make":
            check_make(words)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_somewhere(page):
    text = _FENCE.sub("", page.read_text("utf-8"))
    generated = {ROOT / "docs/changelog.md"}
    generated |= {ROOT / f"docs/reference/commands/{name}.md" for name in docs_pages.COMMAND_PAGES}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        assert "://" not in path, "no link leads out of the project"
        found = (page.parent / path).resolve() if path else page
        if found in generated or (found.parent == ROOT / "docs" and found.suffix == ".png"):
            continue
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", _FENCE.sub("", found.read_text("utf-8")), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}, (
                target
            )


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_tables_are_those_of_the_committed_results(page):
    text = page.read_text("utf-8")
    assert docs_pages.with_tables(text) == text, "run python -m tools.docs_pages"


@pytest.mark.parametrize("path", sorted(docs_pages.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_no_figure_is_without_its_command(path):
    data = json.loads(path.read_text("utf-8"))
    assert all(len(row) == len(data["columns"]) for row in data["rows"])
    assert re.search(r"20\d\d|in the table|each on", data["measured"])
    if not data["commands"]:
        command, when = (data["columns"].index(name) for name in ("command", "when"))
        assert all(row[command].startswith("`python -m ") and "version" in row[when] for row in data["rows"])
    for words in commands(" ".join(f"`{command}`" for command in data["commands"])):
        check_make(words) if words[0] == "make" else check_python(words)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_python_compiles(page):
    for code in blocks(page.read_text("utf-8"), "python"):
        if page.name != "contributing.md":  # It quotes pieces of functions.
            compile(code, page.name, "exec")


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in PAGES[1:]:
        assert f"- {page.relative_to(ROOT / 'docs')}\n" in menu


def test_readme_is_a_front_door():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    (picture,) = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert (ROOT / picture).stat().st_size <= 150_000
    for table in re.findall(r"<!-- table: .*?<!-- end -->", text, re.S):
        assert table.count("\n|") == 2 + 5


def test_the_citation_is_of_this_version():
    version = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)[1]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == version


def run_python(code, directory):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", code], cwd=directory, env=environment, check=True, timeout=600)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A directory in which DATA is a small dataset."""
    directory = tmp_path_factory.mktemp("docs")
    synthesize_dataset(directory / "music", tracks_per_genre=4, seconds=4)
    command = ["-m", "beam_preprocess", "--input=music", "--output=DATA", "--folds=4"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *command], cwd=directory, env=environment, check=True, capture_output=True)
    return directory


def test_the_example_of_readme_runs(directory):
    (code,) = blocks(README.read_text("utf-8"), "python")
    assert len(code.splitlines()) <= 12
    run_python(code, directory)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["how-to/python.md", "concepts/front-end.md"])
def test_the_examples_of_pages_run(page, directory):
    run_python("\n".join(blocks((ROOT / "docs" / page).read_text("utf-8"), "python")), directory)
