import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"beam_predict", "beam_preprocess", "tfrecords", "trainer"}


def test_four_packages_are_installed_that_need_no_other_folder_of_the_checkout(tmp_path):
    command = ["--quiet", "egg_info", f"--egg-base={tmp_path}", "build", f"--build-base={tmp_path / 'build'}"]
    subprocess.run([sys.executable, "setup.py", *command], cwd=ROOT, capture_output=True, check=True)
    built = tmp_path / "build" / "lib"
    assert {path.name for path in built.iterdir()} == PACKAGES
    files = {str(path.relative_to(built)) for path in built.rglob("*")}
    for package in PACKAGES:
        assert files >= {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
        assert f"{package}/py.typed" in files
    assert any(name.startswith("beam_preprocess/gtzan/data/") for name in files)
    assert {"trainer/reports/templates/base.html", "trainer/reports/templates/page.css"} <= files
    assert any(name.startswith("trainer/serving/web/page/") for name in files)
    own = {path.name for path in ROOT.iterdir() if path.is_dir()} - PACKAGES
    assert {"benchmarks", "tests", "tools"} <= own
    for path in built.rglob("*.py"):
        assert not own & set(imported(path.read_text("utf-8"))), path


def test_importing_the_packages_costs_none_of_the_large_libraries():
    code = """
import sys, beam_predict, beam_preprocess, tfrecords, trainer
large = {"apache_beam", "keras", "matplotlib", "numpy", "tensorflow"}
assert not large & sys.modules.keys(), large & sys.modules.keys()
beam_predict.PredictConfig, beam_preprocess.FrontEnd, beam_preprocess.JobConfig
tfrecords.Dataset, trainer.TrainConfig, trainer.TrainingJob
assert not {"apache_beam", "keras", "tensorflow"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_exported_name_is_there(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert "Example:" in getattr(module, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


def imported(text):
    """The top-level packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
