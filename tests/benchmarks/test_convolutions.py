import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import convolutions
from tfrecords.command_line import UserError

ROOT = Path(__file__).parents[2]


def run(*arguments):
    values = convolutions.FLAGS
    values.unparse_flags()
    values(["", *arguments])
    convolutions.main(values, [])


def test_both_ways_take_turns(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    run("--models=frequency", "--steps=2", "--rounds=1")
    head, line = capsys.readouterr().out.splitlines()
    assert head.startswith("ms a step of 64 patches on ")
    name, plain, ours, ratio = (line.split()[at] for at in (0, 4, 8, -1))
    assert name == "frequency" and float(plain) > 0 and float(ours) > 0
    assert float(ratio) == pytest.approx(float(plain) / float(ours), abs=0.02 * float(ratio) + 0.01)


def test_no_such_model():
    with pytest.raises(UserError, match="--model must be one of black_box, "):
        run("--models=loud")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN is asked for on x86 alone")
@pytest.mark.parametrize(("ours", "expected"), [(True, "1"), (False, "None")])
def test_tensorflow_comes_as_it_is_whatever_was_exported(tmp_path, ours, expected):
    (tmp_path / "tensorflow.py").write_text("import os; print(os.environ.get('TF_ENABLE_ONEDNN_OPTS')); os._exit(0)")
    code = f"from benchmarks.convolutions import print_step_ms; print_step_ms('time', {ours}, 1)"
    env = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1", "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"{expected}\n"
