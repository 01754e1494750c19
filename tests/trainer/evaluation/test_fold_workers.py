import math
import multiprocessing
import operator
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfrecords.common.command_line import UserError
from tfrecords.common.files import atomic_write
from tfrecords.manifest import Manifest
from trainer.evaluation.cross_validation import Run
from trainer.evaluation.fold_workers import Progress, WorkerEndedError, Workers, duration
from trainer.evaluation.folds import FoldResult

ROOT = Path(__file__).parents[3]


def test_every_task_is_done_once_by_processes_that_do_many():
    with Workers(2, time.time, operator.neg) as workers:
        assert sorted(workers.do(range(20))) == [(task, -task) for task in range(20)]


def test_a_task_waits_until_it_is_ready():
    order = []
    with Workers(2, time.time, math.sqrt) as workers:
        for task, outcome in workers.do([3, 2, 1], ready=lambda task: task == 1 or task - 1 in order):
            assert outcome == math.sqrt(task)
            order.append(task)
    assert order == [1, 2, 3]


def test_tasks_that_wait_for_each_other_are_told():
    with Workers(1, time.time, math.sqrt) as workers, pytest.raises(ValueError, match="no task of 2 may ever begin"):
        list(workers.do([1, 2], ready=lambda task: False))


def test_a_mistake_comes_back_as_it_was_raised(tmp_path):
    with Workers(2, time.time, Manifest.load) as workers, pytest.raises(UserError, match=f"^{tmp_path}/no: no such"):
        list(workers.do([tmp_path / "no"]))


@pytest.mark.parametrize(("function", "task", "status"), [(os._exit, 3, 3), (signal.raise_signal, signal.SIGKILL, -9)])
def test_a_worker_that_is_gone_is_told(function, task, status):
    with Workers(1, time.time, function) as workers, pytest.raises(WorkerEndedError) as caught:
        list(workers.do([task]))
    assert (caught.value.task, caught.value.status) == (task, status)


PROGRAM = """
import multiprocessing, time
from trainer.evaluation.fold_workers import Workers
with Workers(2, time.time, time.sleep) as workers:
    # Once each has done a task, each has begun: a process that starts cannot yet know of its parent's end.
    list(workers.do([0.1, 0.1]))
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    list(workers.do([1000, 1000]))
"""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(how):
    parent = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # The tests themselves may have been started where it is ignored, as in the background of a shell.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2 and all(map(is_alive, pids))
    parent.send_signal(how)
    assert parent.wait(60) == -how
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_alive, pids))


def test_workers_ignore_ctrl_c_from_their_first_moment():
    before = signal.getsignal(signal.SIGINT)
    with Workers(2, time.time, abs):
        assert signal.getsignal(signal.SIGINT) is before
        for process in multiprocessing.active_children():
            # They are still starting.
            (mask,) = re.findall(r"SigBlk:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text())
            assert int(mask, 16) & 1 << (signal.SIGINT - 1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def write_or_fail(path):
    """Begins to write a file; or, where another one has, makes a mistake."""
    if path.name == "file":
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            time.sleep(1000)
    while not list(path.parent.glob(".tmp-*-file")):
        time.sleep(0.02)
    raise UserError("a mistake")


def test_workers_that_are_ended_leave_nothing_half_written(tmp_path):
    with pytest.raises(UserError, match="a mistake"), Workers(2, time.time, write_or_fail) as workers:
        list(workers.do([tmp_path / "file", tmp_path / "mistake"]))
    assert list(tmp_path.iterdir()) == []


def done(seconds, best_epoch=23):
    return FoldResult(accuracy=7 / 12, tracks=48, epochs=31, best_epoch=best_epoch, seconds=seconds)


def test_a_line_tells_how_far_it_is_and_how_long_the_rest_may_take():
    runs = [Run("time", 0, 3), *(Run(model, 1, fold) for model in ("time", "black_box") for fold in range(3))]
    progress = Progress(runs, total=75, processes=2)
    line = progress.line(runs[0], done(42))
    assert line == ("69 of 75: time, seed 0, fold 3: 58.3 % of 48 tracks, 31 epochs (best 23), 42 s; about 2 min left")
    # Three of `time` at 42 s and two of `black_box` at 420 s, two at once.
    assert progress.line(runs[4], done(420)).endswith("; about 8 min left")
    for run in (*runs[1:4], runs[5]):
        progress.line(run, done(1))
    assert progress.line(runs[6], done(1, best_epoch=None)) == (
        "75 of 75: black_box, seed 1, fold 2: 58.3 % of 48 tracks, 31 epochs (last kept), 1 s"
    )


def test_times_have_the_unit_that_suits_them():
    assert [duration(seconds) for seconds in (0.4, 99, 119, 5000, 9000)] == ["0 s", "99 s", "2 min", "83 min", "2.5 h"]
