"""Kills a training at random steps and starts it again: no batch may be lost, trained on twice or different.

python -m tools.kill_and_resume_training [--kills=5] [--data_dir=DATA] [--model=time] [--recipe=modern] [--epochs=4]
    [--batch_size=16] [--seed=0] [--work_dir=DIR]

One job trains unbroken. Another one of the same flags is killed (SIGKILL, its whole process group) when it has trained
on a random number of further batches, and started again with the same command, once for each kill; every other time it
may use one core only. Both write --log_batches, a line per batch trained on. Each process must go through the unbroken
job's batches one after the other, from a saved state on: what came after that is done again, nothing is left out, and
the last process reaches the end. history.csv must hold each epoch once. How far losses and weights differ is printed;
they are not bound to agree, as a CPU with other threads may sum in another order.

Exit status 1 if anything differs.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks import processes
from tfrecords import command_line
from tfrecords.command_line import UserError
from tfrecords.manifest import FILE_NAME
from trainer.training import recipes
from trainer.training.training_state import STATE_FILE
from trainer.training_job import HISTORY_FILE, read_history

_RUN_LIMIT_S = 1800
_SAVE_EVERY_S = 0.1
# Some kills come during a step, some while a state is being written.
_MAX_DELAY_S = 0.05

FLAGS = flags.FlagValues()
flags.DEFINE_integer("kills", 5, "how often the job is killed", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("data_dir", None, "dataset; by default a synthetic one is made", flag_values=FLAGS)
flags.DEFINE_string("model", "time", "which one to train", flag_values=FLAGS)
flags.DEFINE_string("recipe", "modern", "how it is trained", flag_values=FLAGS)
flags.DEFINE_integer("epochs", 4, "epochs to train", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("batch_size", 16, "patches in a step", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the training and of the moments", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/kill_and_resume_training", "where jobs are kept", flag_values=FLAGS)


class Batch(NamedTuple):
    """A batch that was trained on: its place, from (0, 0), and the SHA-256 of its content."""

    epoch: int
    step: int
    digest: str


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Trains unbroken, then with kills; returns the exit status."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    data_dir = flag_values.data_dir or _make_data(work_dir)
    whole, broken = work_dir / "unbroken", work_dir / "killed"
    for job_dir in (whole, broken):
        shutil.rmtree(job_dir, ignore_errors=True)
        _log(job_dir).unlink(missing_ok=True)
    processes.run_checked(*_command(flag_values, data_dir, whole))
    expected = read_log(_log(whole))
    print(f"{len(expected)} batches in {flag_values.epochs} epochs, {flag_values.kills} kills", flush=True)

    rng = random.Random(flag_values.seed)  # noqa: S311 - moments, not secrets
    command = _command(flag_values, data_dir, broken)
    runs, logged = [], 0
    for number in range(flag_values.kills):
        further, delay_s = rng.randint(1, max(1, len(expected) // flag_values.kills)), rng.uniform(0, _MAX_DELAY_S)
        _kill_once(command, _log(broken), logged + further, delay_s=delay_s, one_core=bool(number % 2))
        runs.append(read_log(_log(broken))[logged:])
        logged += len(runs[-1])
    if (broken / STATE_FILE).exists():
        processes.run_checked(*command)
        runs.append(read_log(_log(broken))[logged:])
    problems = differences(runs, expected)
    if (epochs := read_history(broken)["epoch"]) != list(range(flag_values.epochs)):
        problems.append(f"{HISTORY_FILE}: holds the epochs {epochs}")
    for problem in problems:
        print(f"  {problem}", flush=True)
    print(f"{sum(map(len, runs))} batches in {len(runs)} runs: {len(problems)} problems")
    print(f"losses differ by {_loss_difference(broken, whole):.2g} at most, {_weight_difference(broken, whole)}")
    return 1 if problems else 0


def _make_data(work_dir: Path) -> Path:
    """Shards of synthetic clips, in three folds."""
    source, data_dir = work_dir / "audio", work_dir / "data"
    if not (data_dir / FILE_NAME).exists():
        processes.run_checked("-m", "beam_preprocess.synthesize", f"--output={source}", "--tracks_per_genre=12")
        processes.run_checked("-m", "beam_preprocess", f"--input={source}", f"--output={data_dir}", "--folds=3")
    return data_dir


def _log(job_dir: Path) -> Path:
    return job_dir.with_name(f"{job_dir.name}.log")


def _command(flag_values: flags.FlagValues, data_dir: Path | str, job_dir: Path) -> list[str]:
    """The training's command line; patience does not stop it early, so that the number of batches is known."""
    same = [f"--{name}={flag_values[name].value}" for name in ("model", "recipe", "epochs", "batch_size", "seed")]
    places = [f"--data_dir={data_dir}", f"--job_dir={job_dir}", f"--log_batches={_log(job_dir)}"]
    return [
        "-m",
        "trainer.train",
        *places,
        *same,
        *([f"--patience={flag_values.epochs}"] if recipes.get(flag_values.recipe).patience else []),
        f"--save_every_s={_SAVE_EVERY_S}",
    ]


def _kill_once(command: list[str], log: Path, lines: int, *, delay_s: float, one_core: bool) -> None:
    """Starts a training and kills it some time after its log holds so many lines, if it has not ended by then."""
    process = processes.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        if one_core:
            # At once, as the threads that a process starts have their cores from it.
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        processes.wait_until(process, lambda: _lines(log) >= lines, limit_s=_RUN_LIMIT_S)
        time.sleep(delay_s)
    finally:
        processes.kill(process)
    said = process.communicate()[0]
    if process.returncode not in (0, -signal.SIGKILL):
        raise UserError(f"a training ended with status {process.returncode}: {said.strip()[-2000:]}")
    cores = "one core" if one_core else "all cores"
    where = next((line for line in said.splitlines() if line.startswith("going on")), "from the start")
    print(f"{cores}, {where}; killed at {_lines(log)} lines", flush=True)


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def read_log(path: Path) -> list[Batch]:
    """The lines of --log_batches."""
    rows = (line.split() for line in path.read_text("ascii").splitlines())
    return [Batch(int(epoch), int(step), digest) for epoch, step, digest in rows]


def differences(runs: Sequence[Sequence[Batch]], expected: Sequence[Batch]) -> list[str]:
    """A line for each run that does not go on where the saved state was, or has other batches.

    Args:
      runs: the batches of each process, in its order. One that goes on may do again what was done after the last
        saved state, but leave out nothing.
      expected: the unbroken job's.
    """
    places = {(batch.epoch, batch.step): place for place, batch in enumerate(expected)}
    if len(places) < len(expected):
        return ["the unbroken job has trained on a batch twice"]
    lines, done = [], 0
    for number, run in enumerate(runs, 1):
        begin = places.get((run[0].epoch, run[0].step), len(expected)) if run else done
        if begin > done:
            lines.append(f"run {number}: begins at batch {begin}, the ones before it had done {done}")
        wrong = [batch for batch, other in zip(run, expected[begin:], strict=False) if batch != other]
        if wrong or begin + len(run) > len(expected):
            at = wrong[0] if wrong else run[-1]
            lines.append(f"run {number}: another batch than the unbroken job at epoch {at.epoch}, step {at.step}")
        done = begin + len(run)
    return lines if done == len(expected) else [*lines, f"{done} batches, not {len(expected)}"]


def _loss_difference(job_dir: Path, other: Path) -> float:
    """Of training and validation losses, over all epochs."""
    own, others = read_history(job_dir), read_history(other)
    return max(float(np.max(np.abs(np.subtract(own[name], others[name])))) for name in ("loss", "val_loss"))


def _weight_difference(job_dir: Path, other: Path) -> str:
    """Of the best epochs' models, in words."""
    command_line.import_tensorflow()
    from trainer.scoring.predictions import load_model

    pairs = list(zip(load_model(job_dir).get_weights(), load_model(other).get_weights(), strict=True))
    if all(np.array_equal(own, others) for own, others in pairs):
        return "weights are bit-equal"
    return f"weights by {max(float(np.max(np.abs(own - others))) for own, others in pairs):.2g}"


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
