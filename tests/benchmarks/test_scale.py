import pytest

from benchmarks import scale


@pytest.mark.slow
def test_it_prints_its_ratios(tmp_path, run):
    flags = ("--clips=20", "--seconds=5", "--times=2", "--rounds=1", "--long_hours=0.1")
    printed = run(scale, f"--work_dir={tmp_path}", *flags)
    for figure in ("further clip / bare = ", "larger / smaller = ", "difference = "):
        assert figure in printed
