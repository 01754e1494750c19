"""What becomes of a host when another one of the same training is gone."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import NoReturn

# EX_UNAVAILABLE of sysexits.h; a person's mistake ends with 2, a fault of the program with 1.
STATUS = 69
# Where in its graph TensorFlow was.
_NODE = re.compile(r"\{\{.*?\}\}\s*")
# What TensorFlow raises, depending on what it was at.
_RAISED = ("Aborted", "Cancelled", "DeadlineExceeded", "FailedPrecondition", "Internal", "Unavailable", "Unknown")


class HostLostError(RuntimeError):
    """Another host of the training is not there, or no longer: nothing is wrong here, and all are to start again."""


@contextlib.contextmanager
def losing_hosts(hosts: int) -> Iterator[None]:
    """Around what all hosts do together: when one is gone, TensorFlow's error becomes a HostLostError.

    Args:
      hosts: how many there are; where there is one, nothing is changed.

    Raises:
      HostLostError: a host is gone.
    """
    import tensorflow as tf

    try:
        yield
    except Exception as error:
        if hosts == 1 or not isinstance(error, tuple(getattr(tf.errors, f"{name}Error") for name in _RAISED)):
            raise
        raise HostLostError(
            f"another host of this training is gone ({_reason(error)}); start the same command on all hosts again, and "
            "it goes on from the last saved state"
        ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "aborted by" in line]
    return _NODE.sub("", (told or lines or [type(error).__name__])[0]).rstrip(":")


def end_process(sentence: str, status: int) -> NoReturn:
    """Ends this process at once, with a last sentence: TensorFlow's own end would wait for the other hosts."""
    sys.stdout.flush()
    print(sentence, file=sys.stderr, flush=True)
    os._exit(status)
