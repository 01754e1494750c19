import stat
import time

import pytest

from benchmarks import accelerator
from tfrecords.command_line import UserError


def run(tmp_path, *arguments):
    values = accelerator.FLAGS
    values.unparse_flags()
    values(["", f"--work_dir={tmp_path}", "--clips=16", "--steps=2", "--rounds=1", "--models=time", *arguments])
    accelerator.main(values, [])


def test_steps_a_second_of_both_inputs_and_what_they_ran_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    run(tmp_path, "--batch_size=8", "--precision=bfloat16")
    head, line = capsys.readouterr().out.splitlines()
    assert head.startswith("CPU, Keras on tensorflow, ") and "bfloat16, batches of 8; steps/s" in head
    assert line.split()[0] == "time" and "median of the rounds' ratios = " in line
    assert line.endswith("utilisation unknown (no nvidia-smi)")


def test_a_precision_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="--precision must be one of float32, bfloat16, float16, got 'int8'"):
        run(tmp_path, "--precision=int8")


@pytest.mark.parametrize(("script", "expected"), [("echo 87", {87.0}), ("echo none", set()), ("exit 1", set())])
def test_the_utilisation_is_what_nvidia_smi_says(tmp_path, monkeypatch, script, expected):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(accelerator, "_SAMPLE_EVERY_S", 0.01)
    with accelerator.sampled_utilisation() as samples:
        ends = time.monotonic() + (60 if expected else 0.2)
        while not samples and time.monotonic() < ends:
            time.sleep(0.01)
    assert set(samples) == expected
