import pytest

from benchmarks import audit


@pytest.mark.slow
def test_it_prints_its_ratios(tmp_path, run):
    printed = run(audit, f"--work_dir={tmp_path}", "--clips=20", "--seconds=5", "--rounds=1")
    assert printed.count("audit / job = ") == 2
