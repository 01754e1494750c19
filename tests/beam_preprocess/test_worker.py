import ctypes
import resource
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

from beam_preprocess import worker


def faults_of_blocks():
    """Pages that a thread gets from the system while it makes and drops 20 times three blocks of 4 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [np.ones(1 << 20, np.float32) for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_memory_of_one_block_serves_the_next():
    worker.prepare()
    with ThreadPoolExecutor(1) as pool:
        # Three blocks are 3,000 pages; each time anew they would be 60,000.
        assert pool.submit(faults_of_blocks).result() < 10_000


def test_blas_takes_no_more_than_one_core():
    with threadpoolctl.threadpool_limits(None):
        _limits = worker.prepare()
        blas = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
        assert {library["num_threads"] for library in blas} == {1}
