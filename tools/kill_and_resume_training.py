"""Stops and kills a training at random steps and starts it again: it has to end as one that was left alone.

python -m tools.kill_and_resume_training [--kills=6] [--signals=both] [--data_dir=DATA] [--model=time]
    [--recipe=modern] [--epochs=4] [--batch_size=16] [--seed=0] [--work_dir=DIR]

One job trains unbroken. Another one of the same flags is ended when it has trained on a random number of further
batches, and started again with the same command, once for each kill; every other time it may use one core only. It is
ended by SIGTERM or by SIGKILL (then with its whole process group), drawn at random unless --signals names one. After
SIGTERM its status has to be 75, unless it was done. Both jobs write --log_batches, a line per batch trained on. Each
process must go through the unbroken job's batches one after the other, from a saved state on: what came after that is
done again, but nothing where SIGTERM was noticed between steps; nothing is left out, and the last process reaches the
end.

All losses and accuracies (history.csv) and all weights of the best model have to equal the unbroken job's to the last
bit. On a CPU they do, as everything random is seeded, where the libraries are the same and TensorFlow's threads as
many: a sum is cut by their number, not by the cores they run on. So all processes get TF_NUM_INTRAOP_THREADS and
TF_NUM_INTEROP_THREADS. A GPU would need tf.config.experimental.enable_op_determinism() besides; there --noexact
compares the batches alone, and prints how far the rest differs.

Exit status 1 if anything differs.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks import processes
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.manifest import FILE_NAME
from trainer.config import RECIPES
from trainer.training.stop import BEFORE_A_STEP, STOPPED_STATUS
from trainer.training.training_state import STATE_FILE
from trainer.training_job import HISTORY_FILE, read_history

_RUN_LIMIT_S = 1800
_SAVE_EVERY_S = 0.1
# Some signals come during a step, some while a state is being written.
_MAX_DELAY_S = 0.05
_THREADS = {"TF_NUM_INTRAOP_THREADS": "2", "TF_NUM_INTEROP_THREADS": "2"}
_SIGNALS = {"both": (signal.SIGTERM, signal.SIGKILL), "term": (signal.SIGTERM,), "kill": (signal.SIGKILL,)}

FLAGS = flags.FlagValues()
flags.DEFINE_integer("kills", 6, "how often the job is ended", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_enum("signals", "both", ["both", "term", "kill"], "how it is ended", flag_values=FLAGS)
flags.DEFINE_bool("exact", True, "losses and weights have to be equal", flag_values=FLAGS)
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


class Ending(NamedTuple):
    """How a process is ended, if it has not done so itself by then.

    Attributes:
      signal: SIGTERM or SIGKILL.
      lines: once the log of batches has so many.
      delay_s: and so much later.
      one_core: it may use one core only.
    """

    signal: signal.Signals
    lines: int
    delay_s: float
    one_core: bool


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
    _train(_command(flag_values, data_dir, whole), _log(whole))
    expected = read_log(_log(whole))
    print(f"{len(expected)} batches in {flag_values.epochs} epochs, {flag_values.kills} kills", flush=True)

    runs, saved = _train_broken(flag_values, _command(flag_values, data_dir, broken), broken, len(expected))
    problems = differences(runs, expected, saved=saved)
    if (epochs := read_history(broken)["epoch"]) != list(range(flag_values.epochs)):
        problems.append(f"{HISTORY_FILE}: holds the epochs {epochs}")
    losses, weights = _loss_difference(broken, whole), _weight_difference(broken, whole)
    if flag_values.exact and (losses or weights):
        problems.append(f"losses differ by up to {losses:.2g}, weights by up to {weights:.2g}")
    for problem in problems:
        print(f"  {problem}", flush=True)
    print(f"{sum(map(len, runs))} batches in {len(runs)} runs: {len(problems)} problems")
    equal = "equal to the last bit" if not losses and not weights else f"within {losses:.2g} and {weights:.2g}"
    print(f"losses and weights are {equal}")
    return 1 if problems else 0


def _train_broken(
    flag_values: flags.FlagValues, command: list[str], job_dir: Path, batches: int
) -> tuple[list[list[Batch]], list[int]]:
    """The batches of each process, and the numbers of those, from 0, that ended with all that they did saved."""
    rng = random.Random(flag_values.seed)  # noqa: S311 - moments, not secrets
    log, runs, saved = _log(job_dir), list[list[Batch]](), list[int]()
    for number in range(flag_values.kills):
        further, delay_s = rng.randint(1, max(1, batches // flag_values.kills)), rng.uniform(0, _MAX_DELAY_S)
        how = rng.choice(_SIGNALS[flag_values.signals])
        logged = sum(map(len, runs))
        if _train(command, log, Ending(how, logged + further, delay_s, one_core=bool(number % 2))):
            saved.append(len(runs))
        runs.append(read_log(log)[logged:])
    if (job_dir / STATE_FILE).exists():
        _train(command, log)
        runs.append(read_log(log)[sum(map(len, runs)) :])
    return runs, saved


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
        *([f"--patience={flag_values.epochs}"] if RECIPES[flag_values.recipe].uses_patience else []),
        f"--save_every_s={_SAVE_EVERY_S}",
    ]


def _train(command: list[str], log: Path, ending: Ending | None = None) -> bool:
    """Starts a training and waits for its end; returns whether it ended on request with all that it did saved.

    Raises:
      UserError: it ended in another way than it was to.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with processes.started(*command, **pipes, env=os.environ | _THREADS) as process:
        if ending is not None:
            _end(process, log, ending)
        said = process.communicate(timeout=_RUN_LIMIT_S)[0]
    allowed = {0}
    if ending is not None:
        allowed.add(STOPPED_STATUS if ending.signal == signal.SIGTERM else -signal.SIGKILL)
    if process.returncode not in allowed:
        raise UserError(f"a training ended with status {process.returncode}: {said.strip()[-2000:]}")
    if ending is not None:
        cores = "one core" if ending.one_core else "all cores"
        where = next((line for line in said.splitlines() if line.startswith("going on")), "from the start")
        last = f"status {process.returncode} at {_lines(log)} lines"
        print(f"{cores}, {where}; {ending.signal.name}: {last}", flush=True)
    return process.returncode == STOPPED_STATUS and BEFORE_A_STEP not in said


def _end(process: "subprocess.Popen[str]", log: Path, ending: Ending) -> None:
    if ending.one_core:
        # At once, as the threads that a process starts have their cores from it.
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
    processes.wait_until(process, lambda: _lines(log) >= ending.lines, limit_s=_RUN_LIMIT_S)
    time.sleep(ending.delay_s)
    if ending.signal == signal.SIGKILL:
        processes.kill(process)
    elif process.poll() is None:
        process.send_signal(ending.signal)


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def read_log(path: Path) -> list[Batch]:
    """The lines of --log_batches."""
    rows = (line.split() for line in path.read_text("ascii").splitlines())
    return [Batch(int(epoch), int(step), digest) for epoch, step, digest in rows]


def differences(
    runs: Sequence[Sequence[Batch]], expected: Sequence[Batch], *, saved: Collection[int] = ()
) -> list[str]:
    """A line for each run that does not go on where the saved state was, or has other batches.

    Args:
      runs: the batches of each process, in its order. One that goes on may do again what was done after the last
        saved state, but leave out nothing.
      expected: the unbroken job's.
      saved: numbers of the runs, from 0, after which nothing may be done again.
    """
    places = {(batch.epoch, batch.step): place for place, batch in enumerate(expected)}
    if len(places) < len(expected):
        return ["the unbroken job has trained on a batch twice"]
    lines, done = [], 0
    for number, run in enumerate(runs, 1):
        begin = places.get((run[0].epoch, run[0].step), len(expected)) if run else done
        if begin > done or (begin < done and number - 2 in saved):
            lines.append(f"run {number}: begins at batch {begin}, the ones before it had done {done}")
        wrong = [batch for batch, other in zip(run, expected[begin:], strict=False) if batch != other]
        if wrong or begin + len(run) > len(expected):
            at = wrong[0] if wrong else run[-1]
            lines.append(f"run {number}: another batch than the unbroken job at epoch {at.epoch}, step {at.step}")
        done = begin + len(run)
    return lines if done == len(expected) else [*lines, f"{done} batches, not {len(expected)}"]


def _loss_difference(job_dir: Path, other: Path) -> float:
    """Of losses and accuracies, the largest over all epochs."""
    own, others = read_history(job_dir), read_history(other)
    return max(float(np.max(np.abs(np.subtract(own[name], others[name])))) for name in others)


def _weight_difference(job_dir: Path, other: Path) -> float:
    """Of the best epochs' models, the largest."""
    command_line.import_tensorflow()
    from trainer.evaluation.predictions import load_model

    pairs = zip(load_model(job_dir).get_weights(), load_model(other).get_weights(), strict=True)
    return max(float(np.max(np.abs(own - others))) for own, others in pairs)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
