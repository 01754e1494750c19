import pytest

from benchmarks import input_overhead


@pytest.mark.slow
def test_a_ratio_for_each_model(tmp_path, run):
    flags = ("--clips=16", "--steps=2", "--rounds=1", "--models=time", "--batch_size=8", "--precision=bfloat16")
    head, line = run(input_overhead, f"--work_dir={tmp_path}", *flags).splitlines()
    assert "bfloat16, ms a step of 8 patches" in head
    assert line.split()[0] == "time" and "streamed / constant = " in line
