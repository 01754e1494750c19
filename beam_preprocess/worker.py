"""What a worker asks of its process before it computes, and how the workers that are processes end."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import threadpoolctl

# Of glibc's malloc.h: how much free memory a thread keeps, and from what size memory is always asked of the system.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Blocks of audio and what is made of them are up to 4.2 MB, a few at a time.
_KEPT_BYTES, _LARGE_BYTES = 16 << 20, 8 << 20


def prepare() -> threadpoolctl.threadpool_limits:
    """Leaves the cores to the workers, and the memory of one block to the next, until the process ends.

    BLAS threads of its own would only get in a worker's way. And memory that goes back to the system after each block
    comes again page by page, which takes as long as half of all the computing (glibc; others are left as they are).

    Returns:
      The limit on BLAS threads, which holds while it is kept.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    return threadpoolctl.threadpool_limits(1, user_api="blas")


def end_children() -> None:
    """Kills all processes that this one has started, and those that they have; where there is /proc.

    Beam's workers that are processes would only end when they miss their launcher, and complain.
    """
    for process in [*_descendants(os.getpid())]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _descendants(process: int) -> Iterator[int]:
    for listed in Path(f"/proc/{process}/task").glob("*/children"):
        # A thread or a process may end before it is asked.
        with contextlib.suppress(OSError):
            for child in map(int, listed.read_text("ascii").split()):
                yield from _descendants(child)
                yield child
