"""Edits the files of a dataset and of trained models at random, and gives them to every command that reads them.

python -m tools.tamper [--files=manifest.json,config.json,best.keras,results.json] [--edits=200] [--seed=0]

A small synthetic set is preprocessed, trained on and cross-validated once. Each edit then changes one value, name or
byte of one file, after which the commands run: info, verify, show, train and evaluate for a manifest; train (which
resumes), evaluate, predict and export for a job; compare for results. A command may succeed, or end with one line and
status 2 (1 for verify); anything else, such as a traceback or --limit_s gone by, is a problem. So is a manifest or
configuration that is accepted though it holds a number that is not finite, a shard twice, or one outside the directory.

Prints how many edits each command took and refused. DIR/problems.txt has the edited text of each problem.
"""

import contextlib
import copy
import functools
import importlib
import io
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NamedTuple

from absl import flags

from tfrecords.common import command_line, shutdown
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import align_columns
from tfrecords.manifest import FILE_NAME, Manifest
from tools.json_edits import edited_archive, edited_json
from trainer.evaluation.cross_validation import CROSS_VALIDATION_FILE, RESULTS_FILE
from trainer.training_job import CHECKPOINT_FILE, CONFIG_FILE, TrainingJob

_TRAIN = ("--model=time", "--epochs=1", "--batch_size=64")
_ENDS = {0: "taken", 1: "refused", 2: "refused"}

FLAGS = flags.FlagValues()
flags.DEFINE_list(
    "files", [FILE_NAME, CONFIG_FILE, CHECKPOINT_FILE, RESULTS_FILE], "which files to edit", flag_values=FLAGS
)
flags.DEFINE_integer("edits", 200, "edits of each file", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the edits", flag_values=FLAGS)
flags.DEFINE_float("limit_s", 120.0, "seconds that a command may take", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/tamper", "where data, jobs and problems are kept", flag_values=FLAGS)


class Target(NamedTuple):
    """A file to edit.

    Attributes:
      path: of the file.
      commands: that read it, as module and arguments, with "{new}" for a directory that is made for each.
    """

    path: Path
    commands: tuple[tuple[str, ...], ...]


class Outcome(NamedTuple):
    """How a command ended: its exit status, None for an exception or a hang; and the last line or the traceback."""

    status: int | None
    text: str


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Edits and runs; returns the exit status, 1 if anything failed."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    targets = prepare(work_dir)
    if unknown := [name for name in flag_values.files if name not in targets]:
        raise UserError(f"--files must be some of {', '.join(targets)}, got {unknown[0]!r}")
    counts: Counter[tuple[str, str, str]] = Counter()
    problems: list[str] = []
    for name in flag_values.files:
        rng = random.Random(f"{flag_values.seed} {name}")  # noqa: S311 - edits, not secrets
        original = targets[name].path.read_bytes()
        with contextlib.ExitStack() as stack:
            restore = functools.partial(targets[name].path.write_bytes, original)
            stack.callback(restore)
            stack.enter_context(shutdown.cleanup_on_signal(restore))
            for number in range(flag_values.edits):
                problems += _try(name, targets[name], edited(name, original, rng), counts, flag_values.limit_s)
                if number % 100 == 99:
                    print(f"{name}: {number + 1} edits, {len(problems)} problems", file=sys.stderr, flush=True)
    (work_dir / "problems.txt").write_text("\n\n".join(problems), "utf-8", "backslashreplace")
    rows = [
        [name, command, counts[name, command, "taken"], counts[name, command, "refused"]]
        for name, command in dict.fromkeys((name, command) for name, command, _ in counts)
    ]
    print(align_columns([["file", "command", "taken", "refused"], *([str(cell) for cell in row] for row in rows)]))
    print(f"{len(problems)} problems" + (f": see {work_dir / 'problems.txt'}" if problems else ""))
    return 1 if problems else 0


def prepare(work_dir: Path) -> dict[str, Target]:
    """The files to edit, made where they are not there yet: a dataset, a job and a cross-validation of 24 clips."""
    audio, data, job, cv = (work_dir / name for name in ("audio", "data", "job", "cv"))
    if not (cv / RESULTS_FILE).exists():
        shutil.rmtree(work_dir, ignore_errors=True)
        for command in (
            ("beam_preprocess.synthesize", f"--output={audio}", "--tracks_per_genre=4", "--seconds=4"),
            ("beam_preprocess", f"--input={audio}", f"--output={data}", "--folds=3"),
            ("trainer.train", f"--data_dir={data}", f"--job_dir={job}", *_TRAIN),
            ("trainer.cross_validate", f"--data_dir={data}", f"--job_dir={cv}", *_TRAIN),
        ):
            if (outcome := run(command, limit_s=600)).status != 0:
                raise UserError(f"{' '.join(command)}: {outcome.text}")
    song = str(next(audio.glob("*/*")))
    of_job = (
        ("trainer.train", f"--data_dir={data}", f"--job_dir={job}", *_TRAIN),
        ("trainer.evaluate", f"--job_dir={job}", "--output_dir={new}"),
        ("trainer.predict", f"--job_dir={job}", "--json", song),
        ("trainer.export", f"--job_dir={job}", "--export_dir={new}"),
    )
    of_data = (
        ("tfrecords", "info", str(data)),
        ("tfrecords", "verify", str(data)),
        ("tfrecords", "show", str(data), "--png={new}/grid.png", "--tracks=2"),
        ("trainer.train", f"--data_dir={data}", "--job_dir={new}", *_TRAIN),
        ("trainer.evaluate", f"--job_dir={job}", "--output_dir={new}"),
    )
    of_results = (("trainer.compare", f"--job_dirs={cv}", "--output_dir={new}", "--nopredictions"),)
    return {
        FILE_NAME: Target(data / FILE_NAME, of_data),
        CONFIG_FILE: Target(job / CONFIG_FILE, of_job),
        CHECKPOINT_FILE: Target(job / CHECKPOINT_FILE, of_job),
        RESULTS_FILE: Target(cv / RESULTS_FILE, of_results),
        CROSS_VALIDATION_FILE: Target(cv / CROSS_VALIDATION_FILE, of_results),
    }


def edited(name: str, original: bytes, rng: random.Random) -> bytes:
    """The content of a file with one edit."""
    if name == CHECKPOINT_FILE:
        return edited_archive(original, CONFIG_FILE, rng)
    return edited_json(original.decode("utf-8"), rng).encode("utf-8", "surrogatepass")


def _try(
    name: str, target: Target, content: bytes, counts: Counter[tuple[str, str, str]], limit_s: float
) -> Iterator[str]:
    """The problems that the commands have with an edited file."""
    target.path.write_bytes(content)
    for command in target.commands:
        with tempfile.TemporaryDirectory() as new:
            outcome = run([word.replace("{new}", new) for word in command], limit_s=limit_s)
        words = command[0] + (f" {command[1]}" if command[0] == "tfrecords" else "")
        if outcome.status is None:
            yield f"{name}: {words}: {outcome.text}\n{content[:5000].decode('utf-8', 'backslashreplace')}"
            continue
        counts[name, words, _ENDS[outcome.status]] += 1
    if problem := wrongly_accepted(target.path):
        yield f"{name}: {problem}\n{content[:5000].decode('utf-8', 'backslashreplace')}"


def wrongly_accepted(path: Path) -> str | None:
    """What a manifest or configuration holds that it may not, if it can be loaded nevertheless."""
    try:
        if path.name == FILE_NAME:
            manifest = Manifest.load(path.parent)
            shards = [shard.file for part in manifest.parts.values() for shard in part.shards]
            if len(set(shards)) < len(shards) or any(Path(shard).name != shard for shard in shards):
                return "a shard is there twice, or outside the directory"
            held: Any = json.loads(manifest.to_json())
        elif path.name == CONFIG_FILE:
            TrainingJob.load(path.parent)
            held = json.loads(path.read_text("utf-8"))
        else:
            return None
    except UserError:
        return None
    return None if _finite(held) else "a number is not finite"


def _finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def run(command: Sequence[str], *, limit_s: float) -> Outcome:
    """Runs a command in this process: most of a process's time would be its imports."""
    module = _main_of(command[0])
    values = copy.deepcopy(module.FLAGS)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            with _limited(limit_s):
                values.set_gnu_getopt(True)
                positional = values([command[0], *command[1:]])[1:]
                return Outcome(module.main(values, positional) or 0, "")
        except UserError as error:
            text = str(error)
            return Outcome(2, text) if len(text.splitlines()) <= 1 else Outcome(None, f"several lines: {text}")
        except Exception:  # noqa: BLE001 - whatever a command lets through is what is looked for
            return Outcome(None, f"{traceback.format_exc()}{said.getvalue()[-500:]}")
        finally:
            if command[0].startswith("trainer") and (keras := sys.modules.get("keras")):
                keras.backend.clear_session()


def _main_of(name: str) -> ModuleType:
    package = name in ("beam_preprocess", "tfrecords")
    return importlib.import_module(f"{name}.__main__" if package else name)


class _HangError(Exception):
    """A command takes too long."""


@contextlib.contextmanager
def _limited(limit_s: float) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise _HangError(f"not finished after {limit_s:g} s")

    earlier = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    command_line.run(main, FLAGS, usage=__doc__)
