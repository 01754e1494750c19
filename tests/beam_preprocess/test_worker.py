import ctypes
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

from beam_preprocess import write_shard

ROOT = Path(__file__).parents[2]


def faults_of_blocks():
    """Pages that a thread gets from the system while it makes and drops 20 times three blocks of 4 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [np.ones(1 << 20, np.float32) for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_memory_of_one_block_serves_the_next():
    write_shard.prepare_worker()
    with ThreadPoolExecutor(1) as pool:
        # Three blocks are 3,000 pages; each time anew they would be 60,000.
        assert pool.submit(faults_of_blocks).result() < 10_000


def test_blas_takes_no_more_than_one_core():
    with threadpoolctl.threadpool_limits(None):
        _limits = write_shard.prepare_worker()
        blas = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
        assert {library["num_threads"] for library in blas} == {1}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc")
def test_children_end_with_their_children():
    # As Beam starts its workers: by a shell, from a thread.
    program = """
import subprocess, sys, threading
from beam_preprocess import worker
command = f"{sys.executable} -c 'import time; print(1, flush=True); time.sleep(600)'; true"
started = []
def start():
    started.append(subprocess.Popen(command, shell=True, stdout=subprocess.PIPE))
    started[0].wait()
thread = threading.Thread(target=start)
thread.start()
while not started: pass
started[0].stdout.readline()
worker.end_children()
thread.join()
# Its end: no process has the pipe any more.
print(started[0].returncode, started[0].stdout.read())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "-9 b''\n"
