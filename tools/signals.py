"""Sends signals to every command at random moments: it has to end at once, in few words, and leave nothing half done.

python -m tools.signals [--commands=train,predict,...] [--signals=200] [--seed=0] [--work_dir=DIR]

On a tiny synthetic dataset each command runs once to its end. Then it is started for each signal anew, with an output
of its own, and gets SIGINT (its whole process group, as by Ctrl-C) or SIGTERM at a random moment of the time that it
takes. It may end with

  130, 143   the signal's status
  75         train, by SIGTERM
  0          listen, once it serves; any command that had done its work, which then ends within seconds

Its standard error may hold no traceback and no complaint of the interpreter, no process of its session may be left, and
no file under a temporary name.

Before the interpreter has come to this project's code, and again when it has left it, nobody here handles signals. One
that comes then is counted as "outside": the status may be the signal's own or an error of Python's, but nothing may be
left all the same. /proc tells which moments these are: SIGTERM has no handler. Linux only.

Exit status 1 if anything is not as it should be.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from absl import flags

from benchmarks import processes
from tfrecords.common import command_line, shutdown
from tfrecords.common.command_line import UserError
from tfrecords.manifest import FILE_NAME
from trainer.training.stop import STOPPED_STATUS
from trainer.training_job import CHECKPOINT_FILE

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_RUN_LIMIT_S = 600.0
# From a signal to the end of a process that minds it, and of one that is done already; the machine may be busy.
_END_LIMIT_S, _DONE_LIMIT_S = 60.0, 3.0
_GONE_LIMIT_S = 10.0
# What listen serves for, after it has said that it does.
_SERVING_S = 1.0
_TEMPORARY = re.compile(r"\.(tmp|old)-.*|.*\.tmp|\..*\.partial")
_COMPLAINTS = ("Traceback", "Exception ignored", "Fatal Python error", "terminate called")


class Inputs(NamedTuple):
    """What the commands are given.

    Attributes:
      audio: a folder of clips, in one of each genre.
      data: the dataset made of it, in folds.
      job: a model trained on that.
      cv: a cross-validation on it.
    """

    audio: Path
    data: Path
    job: Path
    cv: Path


def _train(data: Path, job: Path) -> list[str]:
    return ["trainer.train", f"--data_dir={data}", f"--job_dir={job}", "--model=time", "--epochs=2", "--save_every_s=0"]


def _cross_validate(data: Path, cv: Path) -> list[str]:
    return ["trainer.cross_validate", f"--data_dir={data}", f"--job_dir={cv}", "--model=time", "--epochs=1"]


# Command -> its words after `python -m`, given what there is and a folder for its output.
COMMANDS: Mapping[str, Callable[[Inputs, Path], list[str]]] = {
    "beam_preprocess": lambda given, out: [
        "beam_preprocess",
        f"--input={given.audio}",
        f"--output={out / 'data'}",
        "--folds=3",
    ],
    "audit": lambda given, out: [
        "beam_preprocess.audit",
        f"--input={given.audio}",
        f"--output={out / 'audit'}",
        "--folds=3",
    ],
    "verify": lambda given, out: ["tfrecords", "verify", str(given.data)],
    "train": lambda given, out: _train(given.data, out / "job"),
    "evaluate": lambda given, out: ["trainer.evaluate", f"--job_dir={given.job}", f"--output_dir={out}"],
    "cross_validate": lambda given, out: _cross_validate(given.data, out / "cv"),
    "compare": lambda given, out: ["trainer.compare", f"--job_dirs={given.cv}", f"--output_dir={out}"],
    "predict": lambda given, out: [
        "trainer.predict",
        f"--job_dir={given.job}",
        f"--png={out / 'png'}",
        str(given.audio),
    ],
    "export": lambda given, out: ["trainer.export", f"--job_dir={given.job}", f"--export_dir={out / 'model'}"],
    "listen": lambda given, out: ["trainer.listen", f"--job_dir={given.job}", "--port=0"],
}
_SERVING = ("listen",)

FLAGS = flags.FlagValues()
flags.DEFINE_list("commands", list(COMMANDS), f"some of {', '.join(COMMANDS)}", flag_values=FLAGS)
flags.DEFINE_integer("signals", 200, "how many each command gets", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of signals and moments", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/signals", "where inputs and outputs are kept", flag_values=FLAGS)


class Ending(NamedTuple):
    """What became of a command that was sent a signal.

    Attributes:
      how: "ended", "done" or "outside".
      problems: a line for each thing that is not as it should be.
    """

    how: str
    problems: list[str]


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Runs each command, then ends it over and over; returns the exit status."""
    command_line.no_arguments(positional)
    for name in flag_values.commands:
        if name not in COMMANDS:
            raise UserError(f"--commands must be some of {', '.join(COMMANDS)}, got {name!r}")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # In the background of a shell: what is started here would ignore it too.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        shutdown.install()
    work_dir = Path(flag_values.work_dir)
    given = make_inputs(work_dir)
    failed = False
    for name in flag_values.commands:
        rng = random.Random(f"{flag_values.seed} {name}")  # noqa: S311 - moments, not secrets
        out = work_dir / "out"
        command = ["-m", *COMMANDS[name](given, out)]
        whole_s = _whole_s(name, command, out)
        hows: Counter[str] = Counter()
        for _ in range(flag_values.signals):
            number, after_s = rng.choice(_SIGNALS), rng.uniform(0, whole_s)
            ending = end_once(name, command, out, number, after_s)
            hows[ending.how] += 1
            for problem in ending.problems:
                failed = True
                print(f"  {name}, {number.name} after {after_s:.3f} of {whole_s:.1f} s: {problem}", flush=True)
        told = ", ".join(f"{hows[how]} {how}" for how in ("ended", "done", "outside"))
        print(f"{name}: {flag_values.signals} signals within {whole_s:.1f} s: {told}", flush=True)
    return int(failed)


def make_inputs(work_dir: Path) -> Inputs:
    """Makes what is not there yet."""
    given = Inputs(*(work_dir / name for name in Inputs._fields))
    if not (given.data / FILE_NAME).exists():
        made = [f"--output={given.audio}", "--tracks_per_genre=4", "--seconds=6"]
        processes.run_checked("-m", "beam_preprocess.synthesize", *made)
        processes.run_checked("-m", "beam_preprocess", f"--input={given.audio}", f"--output={given.data}", "--folds=3")
    if not (given.job / CHECKPOINT_FILE).exists():
        processes.run_checked("-m", *_train(given.data, given.job))
    processes.run_checked("-m", *_cross_validate(given.data, given.cv))
    return given


def _whole_s(name: str, command: list[str], out: Path) -> float:
    """How long a command takes that nobody ends, or takes until it serves and a little longer."""
    _make_empty(out)
    if name not in _SERVING:
        return processes.run_checked(*command).seconds
    began = time.monotonic()
    with processes.started(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        process.stdout.readline()
        return time.monotonic() - began + _SERVING_S


def end_once(name: str, command: list[str], out: Path, number: signal.Signals, after_s: float) -> Ending:
    """Starts a command, sends it a signal, and looks at what is left.

    Args:
      name: of the command.
      command: the interpreter's arguments.
      out: folder of its output; emptied.
      number: SIGINT or SIGTERM.
      after_s: when it is sent, after the start.
    """
    _make_empty(out)
    with processes.started(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        time.sleep(after_s)
        handled, sent = _handles_signals(process.pid), time.monotonic()
        if process.poll() is None:
            if number == signal.SIGINT:
                # Not waited for yet, it still has its number.
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        try:
            stderr = process.communicate(timeout=_END_LIMIT_S)[1]
        except subprocess.TimeoutExpired:
            return Ending("ended", [f"still runs after {_END_LIMIT_S:g} s"])
        took_s = time.monotonic() - sent
    problems = left_behind(out)
    if not _are_gone(process.pid):
        problems.append("processes of its own are left")
    how = "done" if process.returncode == 0 and name not in _SERVING else "ended" if handled else "outside"
    if how != "outside":
        problems += complaints(name, number, process.returncode, stderr)
    if how == "done" and took_s > _DONE_LIMIT_S:
        problems.append(f"went on for {took_s:.1f} s, to its end")
    return Ending(how, problems)


def complaints(name: str, number: signal.Signals, status: int, stderr: str) -> list[str]:
    """What is wrong with the way in which a command has ended, a line each."""
    allowed = {0, 128 + number} | ({STOPPED_STATUS} if (name, number) == ("train", signal.SIGTERM) else set())
    problems = [] if status in allowed else [f"status {status}: {stderr.strip()[-2000:]}"]
    return problems + [f"says {words!r}: {stderr.strip()[-2000:]}" for words in _COMPLAINTS if words in stderr]


def left_behind(out: Path) -> list[str]:
    """A line for each file under a temporary name."""
    return [f"{path}: left behind" for path in sorted(out.rglob("*")) if _TEMPORARY.fullmatch(path.name)]


def _handles_signals(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, which no interpreter has of itself."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8", errors="replace")
    except OSError:
        return False
    found = re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


def _are_gone(session: int) -> bool:
    deadline = time.monotonic() + _GONE_LIMIT_S
    while any(processes.session_processes(session)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
