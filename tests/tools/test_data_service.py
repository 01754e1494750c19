import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.training.data_service import check_service

ROOT = Path(__file__).parents[2]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tools.data_service", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pids):
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize(
    "ending",
    [signal.SIGKILL, *(pytest.param(ending, marks=pytest.mark.slow) for ending in (signal.SIGTERM, signal.SIGINT))],
)
def test_a_service_ends_with_all_its_processes(ending):
    process = start("--workers=1")
    try:
        address = re.fullmatch(r"data service with 1 workers: --data_service=(\S+)\n", process.stdout.readline())[1]
        check_service(address)
        own = children(process.pid)
        assert len(own) >= 2
        # Ctrl-C reaches every process of the terminal's group.
        (os.killpg if ending == signal.SIGINT else os.kill)(process.pid, ending)
        stdout, stderr = process.communicate(timeout=300)
        assert (process.returncode, stdout, stderr) == (-ending if ending == signal.SIGKILL else 0, "", "")
        assert gone(own)
    finally:
        process.kill()


def test_a_service_that_loses_a_process_ends():
    process = start("--workers=1")
    try:
        assert process.stdout.readline()
        own = children(process.pid)
        os.kill(own[-1], signal.SIGKILL)
        assert process.communicate(timeout=300) == (
            "",
            "error: a process of the service has ended by itself; all are ended\n",
        )
        assert process.returncode == 2
        assert gone(own)
    finally:
        process.kill()


def test_a_port_that_is_taken_is_one_line():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(f"--port={port}")
        said = process.communicate(timeout=600)
    assert (process.returncode, said) == (2, ("", f"error: --port={port} cannot be used: Address already in use\n"))
