"""What a command imports before it has something to do: TensorFlow takes seconds, matplotlib half a second."""

import subprocess
import sys

import pytest

SLOW = ("tensorflow", "keras", "apache_beam", "librosa", "scipy.signal")
COMMANDS = (
    *("train", "evaluate", "cross_validate", "compare", "predict", "export", "listen", "label_errors", "serve"),
    *("embed", "similar"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_waits_for_nothing_slow(command):
    program = f"import sys, trainer.{command}; print(*(name for name in {SLOW} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
