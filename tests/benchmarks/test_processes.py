import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import processes

# Holds 100 MiB in a child of its own, for a second.
HOLD = "import time; held = bytearray(b'x') * (100 << 20); time.sleep(1)"
PARENT = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {HOLD!r}]))"
FOREVER = "import time; time.sleep(600)"


def test_output_and_status_are_those_of_the_command():
    finished = processes.run("-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (finished.status, finished.stdout, finished.stderr) == (3, "out\n", "err\n")
    assert (finished.timed_out, finished.peak_bytes) == (False, 0)


def test_memory_of_children_counts():
    peak_mib = processes.run("-c", PARENT, watch_memory=True).peak_bytes / processes.MIB
    assert 100 < peak_mib < 160


def test_what_takes_too_long_is_ended_with_its_children():
    parent = f"import subprocess, sys; subprocess.call([sys.executable, '-c', {FOREVER!r}])"
    began = time.monotonic()
    finished = processes.run("-c", parent, timeout_s=0.5)
    assert finished.timed_out
    assert finished.status == -signal.SIGKILL
    assert time.monotonic() - began < 30


def test_a_signal_to_who_runs_it_ends_it_with_its_children(tmp_path):
    grandchild = f"import subprocess, sys; subprocess.call([sys.executable, '-c', {FOREVER!r}])"
    # Its session is known by the number of the process at its head.
    child = f"import os, pathlib; pathlib.Path('begun').write_text(f'{{os.getpid():9}}'); {grandchild}"
    runner = f"from benchmarks import processes; processes.run_checked('-c', {child!r})"
    begun, root = tmp_path / "begun", str(Path(processes.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", runner],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
    )
    try:
        assert until(lambda: begun.exists() and begun.stat().st_size == 9)
        session = int(begun.read_text())
        assert until(lambda: len(list(processes.session_processes(session))) == 2)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
        assert until(lambda: not list(processes.session_processes(session)))
    finally:
        process.kill()
        process.wait()


def until(condition):
    """Whether it came to hold."""
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()
