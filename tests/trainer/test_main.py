"""python -m trainer: a list of the commands."""

import subprocess
import sys

import pytest

from tfrecords.common.command_line import commands_of
from trainer import __main__ as main_module

COMMANDS = {"compare", "cross_validate", "evaluate", "export", "listen", "predict", "train"}


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "trainer", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_commands_are_listed(arguments):
    done = run(*arguments)
    assert done.returncode == 0
    listed = {line.split()[2].partition(".")[2] for line in done.stdout.splitlines() if line.startswith("python -m")}
    assert listed >= COMMANDS


def test_a_wrong_word_is_one_line_that_names_them():
    done = run("trian")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "'trian'" in line
    assert all(name in line for name in commands_of(main_module._PACKAGE) if "." in name)
