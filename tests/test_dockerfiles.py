"""Images are not built here: what the Dockerfiles name is held against the repository, and their RUN lines are run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tfrecords.dataset import Dataset

ROOT = Path(__file__).parent.parent
WORKER, TRAINER = "beam_preprocess/Dockerfile", "trainer/Dockerfile"
CONSTRAINTS = [
    Requirement(line) for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")
]
# As the Python that runs this resolves them.
PINS = {
    pin.name: str(pin.specifier).removeprefix("==") for pin in CONSTRAINTS if not pin.marker or pin.marker.evaluate()
}
SETUP = (ROOT / "setup.py").read_text("utf-8")
PACKAGES = re.findall(r"\"(\w+)\*\"", re.search(r"packages=setuptools.find_packages\(include=\[(.*)\]\)", SETUP)[1])


def instructions(path):
    """(instruction, its words) in order; continued lines are one, comments none."""
    text = re.sub(r"^#.*\n", "", (ROOT / path).read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.partition(" ")[0], shlex.split(line.partition(" ")[2])) for line in text.splitlines() if line.strip()]


def arguments(path, instruction):
    return [words for name, words in instructions(path) if name == instruction]


def environment(path):
    return dict(word.split("=", 1) for words in arguments(path, "ENV") for word in words)


def kept():
    """The names that .dockerignore lets through, all others being ignored."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines
    return [line[1:] for line in lines if line.startswith("!")]


def in_context(file):
    """Whether a file is sent to the builder."""
    return any(file == name or file.startswith(f"{name}/") for name in kept())


@pytest.mark.parametrize("path", [WORKER, TRAINER])
def test_instructions(path):
    names = [name for name, _ in instructions(path)]
    assert set(names) <= {"FROM", "COPY", "ENV", "WORKDIR", "RUN", "ENTRYPOINT"}
    assert names[0] == "FROM"
    assert names[-1] == "ENTRYPOINT"
    assert set(environment(path)) <= {
        "FLEX_TEMPLATE_PYTHON_PY_FILE", "LD_LIBRARY_PATH", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES",
        "PYTHONSAFEPATH",
    }  # fmt: skip


@pytest.mark.parametrize("path", [WORKER, TRAINER])
def test_the_python_is_one_that_setup_supports(path):
    base = arguments(path, "FROM")[-1][0]
    assert base in ("python:3.11-slim", "python:3.12-slim", "python:3.13-slim")
    assert 'python_requires=">=3.11,<3.14"' in SETUP


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_each_supported_python_gets_one_pin_of_a_package(python):
    pinned = [pin.name for pin in CONSTRAINTS if not pin.marker or pin.marker.evaluate({"python_version": python})]
    assert len(pinned) == len(set(pinned))
    assert ("tensorflow-io" in pinned) == (python != "3.13")
    assert {"apache-beam", "av", "google-apitools", "keras", "tensorflow"} <= set(pinned)


def test_beam_and_python_are_the_same_in_all_stages():
    (beam, _, stage), (launcher, _, other), (base,) = arguments(WORKER, "FROM")
    minor = base.removeprefix("python:").removesuffix("-slim")
    assert beam == f"apache/beam_python{minor}_sdk:{PINS['apache-beam']}"
    assert re.fullmatch(rf"[\w./-]+/python{minor.replace('.', '')}-template-launcher-base:\w+", launcher)
    assert not launcher.endswith(":latest")
    from_stages = [words for words in arguments(WORKER, "COPY") if words[0].startswith("--from=")]
    assert [(words[0], words[1]) for words in from_stages] == [
        (f"--from={stage}", "/opt/apache/beam"),
        (f"--from={other}", "/opt/google/dataflow/python_template_launcher"),
    ]
    assert all(words[1] == words[2] for words in from_stages)
    assert arguments(WORKER, "ENTRYPOINT") == [["[/opt/apache/beam/boot]"]]


@pytest.mark.parametrize("path", [WORKER, TRAINER])
def test_what_is_copied_is_in_the_repository_and_reaches_the_builder(path):
    copied = [words[:-1] for words in arguments(path, "COPY") if not words[0].startswith("--from=")]
    for source in (source for sources in copied for source in sources if source != "."):
        assert (ROOT / source).is_file()
        assert in_context(source)
    assert ["."] in copied


def test_what_setup_needs_reaches_the_builder_and_the_source_distribution():
    read = re.findall(r'HERE / "([^"]+)"', SETUP)
    assert "beam_preprocess/requirements.txt" in read
    manifest = (ROOT / "MANIFEST.in").read_text("utf-8")
    for file in read:
        assert in_context(file)
        assert file in manifest or file == "README.md"
    assert all(in_context(f"{package}/__init__.py") for package in PACKAGES)
    assert in_context("constraints.txt")
    assert in_context("setup.py")
    assert not any(map(in_context, (".git", ".venv", "benchmarks", "build", "demo", "tests", "tools")))


def test_the_launcher_starts_the_command_line():
    directory, variables = arguments(WORKER, "WORKDIR")[0][0], environment(WORKER)
    file = Path(variables["FLEX_TEMPLATE_PYTHON_PY_FILE"]).relative_to(directory)
    done = subprocess.run(
        [sys.executable, file, "--help"],
        cwd=ROOT,
        # PYTHONPATH stands for the installation.
        env=os.environ | {"PYTHONSAFEPATH": variables["PYTHONSAFEPATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--input" in done.stdout


def test_the_trainer_starts_the_command_line():
    ((entry_point,),) = [["".join(words)] for words in arguments(TRAINER, "ENTRYPOINT")]
    assert entry_point == "[python,-m,trainer.train]"
    assert (ROOT / "trainer" / "train.py").is_file()


def test_the_worker_installs_no_tensorflow():
    assert not re.search("tensorflow|keras|matplotlib|tensorboard", requirements("beam_preprocess/requirements.txt"))
    for words in arguments(WORKER, "RUN"):
        assert not re.search(r"tensorflow|\[gpu\]", " ".join(words))
        if words[:2] == ["pip", "install"]:
            assert "-c" in words or "--no-deps" in words


def requirements(path):
    return "".join(line for line in (ROOT / path).read_text("utf-8").splitlines(True) if not line.startswith("#"))


@pytest.mark.slow
def test_the_worker_image_preprocesses_without_tensorflow(tmp_path):
    venv, context = fresh_venv(tmp_path), copy_context(tmp_path)
    for words in arguments(WORKER, "RUN"):
        run(venv, context, words)
    missing = run(venv, tmp_path, ["python", "-c", "import tensorflow"], status=1)
    assert "No module named 'tensorflow'" in missing.stderr
    run(venv, tmp_path, ["python", "-c", "import beam_preprocess.pipeline"])
    synthesize = "python -m beam_preprocess.synthesize --output=audio --tracks_per_genre=2 --seconds=3"
    run(venv, tmp_path, synthesize.split())
    # As the launcher starts it, the file by its name.
    file = Path(environment(WORKER)["FLEX_TEMPLATE_PYTHON_PY_FILE"]).relative_to("/template")
    run(venv, tmp_path, ["python", context / file, "--input=audio", "--output=out", "--folds=2"])
    dataset = Dataset(tmp_path / "out")
    assert list(dataset.verify()) == []
    assert sum(dataset.manifest.tracks(["all"]).values()) == 20


@pytest.mark.slow
def test_the_trainer_image_resolves(tmp_path):
    """Only resolved: its CUDA wheels are gigabytes."""
    (words,) = arguments(TRAINER, "RUN")
    done = run(fresh_venv(tmp_path), copy_context(tmp_path), [*words, "--dry-run"])
    assert f"tensorflow-{PINS['tensorflow']}" in done.stdout
    assert f"nvidia-cudnn-cu12-{PINS['nvidia-cudnn-cu12']}" in done.stdout


def fresh_venv(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    return tmp_path / "venv"


def copy_context(tmp_path):
    """What is sent to the builder, in a folder of its own."""
    context = tmp_path / "context"
    context.mkdir()
    for name in kept():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, context / name)
    return context


def run(venv, directory, words, *, status=0):
    """Runs a command of an image in a virtual environment instead."""
    program = {"pip": [venv / "bin" / "python", "-m", "pip"], "python": [venv / "bin" / "python"]}[words[0]]
    done = subprocess.run(
        [*program, *words[1:]],
        cwd=directory,
        env=os.environ | environment(WORKER),
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done
