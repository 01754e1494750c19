import pytest

from benchmarks import beam_predict


def test_ratios():
    times = {"preprocess all": 5, "preprocess few": 3, "beam_predict all": 10, "beam_predict few": 7, "model": 2}
    apart, whole = beam_predict.report(times, 40).splitlines()
    assert apart.endswith("ratio = 1.00")
    assert whole.endswith("ratio = 1.43")


@pytest.mark.slow
def test_it_prints_its_ratios(tmp_path, run):
    flags = ("--clips=30", "--seconds=5", "--rounds=1", "--model=time")
    assert run(beam_predict, f"--work_dir={tmp_path}", *flags).count("ratio = ") == 4
