import pytest

from benchmarks import predict


@pytest.mark.slow
def test_it_prints_its_ratios(tmp_path, run):
    flags = ("--clips=30", "--seconds=5", "--rounds=1", "--model=time")
    assert run(predict, f"--work_dir={tmp_path}", *flags).count("predict / this = ") == 2
