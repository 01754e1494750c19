import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.training.stop import INTERRUPTED_STATUS, STOPPED_STATUS, Stop, Stopped

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, STOPPED_STATUS), (signal.SIGINT, INTERRUPTED_STATUS)])
def test_a_signal_is_noted_where_somebody_looks(number, status):
    # As where the tests themselves were started in the background of a shell.
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    handlers = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)]
    try:
        with Stop().on_signals("JOB") as stop:
            stop.deferred = True
            stop.check()
            signal.raise_signal(number)
            message = f"^JOB: stopped by {number.name} after epoch 3; the same command goes on from there$"
            with pytest.raises(Stopped, match=message):
                stop.check("after epoch 3")
            assert stop.status == status
        assert [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)] == handlers
    finally:
        signal.signal(signal.SIGINT, earlier)


def test_without_handlers_there_is_never_a_request():
    stop = Stop()
    stop.deferred = True
    stop.check()
    assert stop.requested is None


def test_a_signal_that_is_ignored_stays_so():
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stop().on_signals("JOB") as stop:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
            assert stop.requested is None
    finally:
        signal.signal(signal.SIGINT, earlier)


PROGRAM = """
import os, signal, sys
from tfrecords.common import command_line, shutdown
from trainer.training.stop import Stop
with Stop().on_signals("JOB é") as stop:
    {before}
    try:
        signal.raise_signal(signal.SIGTERM)
        {after}
    except BaseException:
        pass
print("went on")
"""


def end_of(before="", after=""):
    command = [sys.executable, "-c", PROGRAM.format(before=before, after=after)]
    env = os.environ | {"PYTHONIOENCODING": "utf-8", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout, done.stderr


SAID = "JOB é: stopped by SIGTERM before its next step; the same command goes on from there\n"


def test_where_nobody_looks_a_signal_ends_the_process_at_once():
    assert end_of() == (STOPPED_STATUS, "", SAID)


def test_the_words_are_seen_where_the_standard_error_is_not_the_terminal():
    # As during the import of TensorFlow.
    assert end_of(before="hidden = command_line.hide_startup_lines(); hidden.__enter__()") == (STOPPED_STATUS, "", SAID)


def test_it_takes_signals_over_from_who_ends_the_process_and_cleans_up():
    before = "cleaned_up = shutdown.cleanup_on_signal(lambda: os.write(1, b'cleaned up')); cleaned_up.__enter__()"
    program = PROGRAM.replace("with Stop()", "shutdown.install()\nwith Stop()").format(before=before, after="")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (STOPPED_STATUS, "cleaned up")


def test_a_second_signal_does_not_wait():
    assert end_of(before="stop.deferred = True") == (0, "went on\n", "")
    assert end_of(before="stop.deferred = True", after="signal.raise_signal(signal.SIGTERM)")[0] == STOPPED_STATUS
