import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tfrecords.common import shutdown

ROOT = Path(__file__).parents[3]
BOTH = [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")]


def run(*command, **options):
    """Status, standard output and standard error of an interpreter, in which no signal is ignored from the start."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def run_program(body):
    return run("-c", f"import os, signal, sys, threading\nfrom tfrecords.common import shutdown\n{body}")


SWALLOWED = """
shutdown.install()
print("before")
class Finalized:
    def __del__(self):
        signal.raise_signal({number})
try:
    Finalized()
except BaseException:
    pass
print("went on")
"""


@pytest.mark.parametrize(("number", "status", "words"), BOTH)
def test_nothing_keeps_a_signal_from_ending_the_process(number, status, words):
    # Where an exception would be swallowed; and what was printed is written.
    assert run_program(SWALLOWED.format(number=int(number))) == (status, "before\n", words)


CLEANED_UP = """
shutdown.install()
with shutdown.cleanup_on_signal(lambda: os.write(1, b"outer ")):
    with shutdown.cleanup_on_signal(lambda: os.write(1, b"left")):
        pass
    with shutdown.cleanup_on_signal(lambda: os.write(1, b"middle ")), shutdown.cleanup_on_signal(lambda: 1 / 0):
        with shutdown.cleanup_on_signal(lambda: os.write(1, b"inner ")):
            signal.raise_signal(signal.SIGTERM)
"""


def test_what_is_under_way_is_cleaned_up_from_the_inside_out():
    assert run_program(CLEANED_UP) == (143, "inner middle outer ", "terminated\n")


def test_a_second_signal_does_not_wait_for_the_first():
    body = "shutdown.install()\nwith shutdown.cleanup_on_signal(lambda: signal.raise_signal(signal.SIGTERM)):\n"
    assert run_program(body + "    signal.raise_signal(signal.SIGINT)") == (-signal.SIGTERM, "", "")


FORKED = """
shutdown.install()
with shutdown.cleanup_on_signal(lambda: os.write(1, b"cleaned up ")):
    child = os.fork()
    if not child:
        signal.raise_signal(signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_forked_process_cleans_up_nothing_of_its_parents():
    assert run_program(FORKED) == (0, "143\n", "terminated\n")


FULL = """
os.set_blocking(1, False)
try:
    while True:
        os.write(1, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(1, True)
shutdown.install()
print("never read")
signal.raise_signal(signal.SIGTERM)
"""


def test_a_reader_that_has_stopped_reading_holds_nothing_up():
    reader, writer = os.pipe()
    try:
        program = f"import os, signal\nfrom tfrecords.common import shutdown\n{FULL}"
        # So that something is left to be written at the end.
        env = os.environ | {"PYTHONUNBUFFERED": ""}
        command = [sys.executable, "-c", program]
        process = subprocess.Popen(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, env=env)
        assert process.communicate(timeout=60)[1] == b"terminated\n"
        assert process.returncode == 143
    finally:
        os.close(reader)
        os.close(writer)


TAKEN = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: print("somebody's own"))
shutdown.install()
with shutdown.wait_for_signal("ended"):
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
"""


def test_what_is_ignored_or_handled_stays_so():
    assert run_program(TAKEN) == (0, "somebody's own\n", "")


def test_in_another_thread_nothing_is_changed():
    body = "thread = threading.Thread(target=shutdown.install)\nthread.start()\nthread.join()\n"
    status = run_program(body + "signal.raise_signal(signal.SIGTERM)")
    assert status == (-signal.SIGTERM, "", "")


def test_while_waiting_a_signal_is_the_way_to_end_well():
    body = "shutdown.install()\nwith shutdown.wait_for_signal('ended'):\n    signal.raise_signal(signal.SIGINT)"
    assert run_program(body) == (0, "ended\n", "")
    body = "shutdown.install()\nwith shutdown.wait_for_signal('ended'):\n    pass\nsignal.raise_signal(signal.SIGINT)"
    assert run_program(body) == (130, "", "interrupted\n")


def test_a_signal_that_is_put_off_comes_at_the_end():
    came = []
    with shutdown.signal_handler(lambda number, frame: came.append(number)):
        with shutdown.defer_signals():
            signal.raise_signal(signal.SIGTERM)
            assert came == []
        assert came == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_threads_begin_nothing_once_the_process_is_ending(end_by_signal):
    begun = threading.Event()

    def begin():
        with shutdown.cleanup_on_signal(lambda: None):
            begun.set()

    def action():
        threading.Thread(target=begin, daemon=True).start()
        assert not begun.wait(0.05)
        called.append(True)

    called = []
    with pytest.raises(SystemExit), shutdown.cleanup_on_signal(action):
        end_by_signal()
    assert called == [True]


@pytest.mark.parametrize("module", ["tfrecords", "trainer.predict", "beam_preprocess", "beam_preprocess.audit"])
def test_a_commands_first_import_can_be_interrupted(tmp_path, module):
    (tmp_path / "absl.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    assert run("-m", module, env=os.environ | {"PYTHONPATH": path}) == (130, "", "interrupted\n")


def test_a_program_that_imports_the_packages_keeps_its_handlers():
    body = "import beam_preprocess, tfrecords, trainer\nprint(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    assert run_program(body) == (0, "True\n", "")
