"""Makes what the documentation does not have typed: tables of results, pages of commands, outputs of the tutorials.

python -m tools.docs_pages        writes the tables of README.md and of the pages anew

mkdocs calls `on_files` (mkdocs.yml, hooks). A block that begins with ```bash run or ```python run is run when the pages
are built, in an empty directory a page; what it prints follows it, and the pictures that it writes are the page's.
Options after `run`: `status=N`, the exit status that is expected, and `last=N`, to show only so many lines.
"""

import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from trainer.reports import tables

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
# Where the tutorials are run; `make docs` empties it.
WORK = ROOT / "build" / "docs"
PACKAGES = ("tfrecords", "beam_preprocess", "trainer", "beam_predict")
COMMAND_PAGES = (*PACKAGES, "tools", "benchmarks")
_BLOCK = re.compile(r"^```(?P<language>bash|python) run(?P<options>[^\n]*)\n(?P<code>.*?)^```\n", re.M | re.S)
_TABLE = re.compile(
    r"<!-- table: (?P<name>\w+)(?P<options>[^>]*?) -->\n(?:(?:(?!<!-- table:).)*?<!-- end -->\n)?", re.S
)
_CHOICE = re.compile(r"(rows|columns)=([0-9,]+)")
_OPTION = re.compile(r"(\w+)=(\d+)")
_LIMIT_S = 600
# What TensorFlow's C++ code logs when it is imported.
_STARTUP = re.compile(r"[IWE]0000 |WARNING: All log messages before absl|To enable the following instructions")

FLAGS = flags.FlagValues()


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Write the tables."""
    command_line.no_arguments(positional)
    for page in pages():
        page.write_text(with_tables(page.read_text("utf-8")), "utf-8")


def pages() -> list[Path]:
    """Return README.md and the pages that are kept in the repository."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages, and fill in the others (an event of mkdocs)."""
    from mkdocs.structure.files import File

    generated: dict[str, str | bytes] = {
        f"reference/commands/{name}.md": page for name, page in command_pages().items()
    }
    generated["changelog.md"] = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for file in list(files.documentation_pages()):
        text = with_tables(file.content_string)
        if _BLOCK.search(text):
            directory = WORK / file.src_uri.removesuffix(".md").replace("/", "-")
            text = with_outputs(text, directory)
            for picture in sorted(directory.glob("*.png")):
                generated[str(Path(file.src_uri).parent / picture.name)] = picture.read_bytes()
        file.content_string = text
    for uri, content in generated.items():
        files.append(File.generated(config, uri, content=content))
    return files


def with_tables(text: str) -> str:
    """Return a text with each table that a mark names between the mark and `<!-- end -->`.

    A mark is `<!-- table: NAME -->`, of docs/results/NAME.json or of the comparison benchmarks/NAME.json. After the
    name, `rows=0,2` and `columns=0,4` choose rows and columns by number, and `differences` the second table of a
    comparison.
    """

    def fill(match: re.Match[str]) -> str:
        mark = f"<!-- table: {match['name']}{match['options']} -->"
        return f"{mark}\n\n{result_table(match['name'], match['options'])}\n\n<!-- end -->\n"

    return _TABLE.sub(fill, text)


def result_table(name: str, options: str = "") -> str:
    """Return a table of results in Markdown, below a line that says what it is and what made it, when and where."""
    path = RESULTS / f"{name}.json"
    if path.exists():
        data = json.loads(path.read_text("utf-8"))
        table = tables.Table(data["columns"], data["rows"])
        commands = ", ".join(f"`{command}`" for command in data["commands"])
        heading = f"{data['title']} ({', by '.join(filter(None, [data['measured'], commands]))}):\n\n"
    else:
        document = tables.comparison(json.loads((ROOT / "benchmarks" / f"{name}.json").read_text("utf-8")))
        table, heading = document.differences if "differences" in options.split() else document.models, ""
    chosen = {key: [int(number) for number in numbers.split(",")] for key, numbers in _CHOICE.findall(options)}
    rows = [table.rows[number] for number in chosen.get("rows", range(len(table.rows)))]
    columns = chosen.get("columns", range(len(table.columns)))
    cells = [[row[number] for number in columns] for row in (table.columns, *rows)]
    return heading + tables.Table(cells[0], cells[1:]).markdown()


def command_pages() -> dict[str, str]:
    """Return the reference of the commands, package -> page, from their docstrings and flags."""
    pages = {}
    for package in COMMAND_PAGES:
        sections = [_command_section(name) for name in command_line.commands_of(ROOT / package)]
        about = "" if package in PACKAGES else " They are not installed: run them in a checkout, on Linux."
        pages[package] = f"# Commands of {package}\n\nMade from each command's own help.{about}\n\n" + "\n".join(
            sections
        )
    return pages


def command_module(name: str) -> ModuleType:
    """Return the module that `python -m name` runs."""
    module = importlib.import_module(name)
    return importlib.import_module(f"{name}.__main__") if hasattr(module, "__path__") else module


def _command_section(name: str) -> str:
    module = command_module(name)
    usage = str(module.__doc__).strip()
    lines = [f"## python -m {name}\n", f"```text\n{usage}\n```\n"]
    flag_values = getattr(module, "FLAGS", ())
    if flag_values:
        rows = [_flag_row(flag_values[flag]) for flag in flag_values]
        lines.append(tables.Table(("flag", "default", "meaning"), rows).markdown() + "\n")
    return "\n".join(lines)


def _flag_row(flag: Any) -> tuple[str, str, str]:
    default = "" if flag.default is None else str(flag.default_as_str).strip("'")
    return f"`--{flag.name}`", default and f"`{default}`", re.sub(r"([|<>_*])", r"\\\1", flag.help)


def with_outputs(text: str, directory: Path) -> str:
    """Return a page with what its blocks print, from a run of all of them in `directory`, or from the last run."""
    blocks = [match.group() for match in _BLOCK.finditer(text)]
    key, saved = hashlib.sha256("".join(blocks).encode()).hexdigest(), directory / "outputs.json"
    outputs = json.loads(saved.read_text("utf-8")) if saved.exists() else {}
    if outputs.get("key") != key:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        outputs = {"key": key, "printed": [run_block(match, directory) for match in _BLOCK.finditer(text)]}
        saved.write_text(json.dumps(outputs), "utf-8")
    printed = iter(outputs["printed"])
    return _BLOCK.sub(lambda match: _block_with_output(match, next(printed)), text)


def run_block(match: re.Match[str], directory: Path) -> str:
    """Run a block of a page in a directory and return what it printed.

    Raises:
      UserError: its exit status is not the expected one.
    """
    options = dict(_OPTION.findall(match["options"]))
    command = ["bash", "-e", "-c"] if match["language"] == "bash" else [sys.executable, "-c"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    done = subprocess.run(
        [*command, match["code"]],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode != int(options.get("status", 0)):
        raise UserError(f"{directory.name}: status {done.returncode} of\n{match['code']}{done.stdout}")
    lines = [line for line in done.stdout.splitlines() if not _STARTUP.match(line)]
    return "\n".join(lines).replace(str(directory.resolve()), "/home/you/music")


def _block_with_output(match: re.Match[str], printed: str) -> str:
    block = f"```{match['language']}\n{match['code']}```\n"
    lines = printed.strip("\n").splitlines()
    last = dict(_OPTION.findall(match["options"])).get("last")
    if last and len(lines) > int(last):
        lines = ["...", *lines[-int(last) :]]
    return block + ("\n```text\n" + "\n".join(lines) + "\n```\n" if lines else "")


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
