import pytest

from benchmarks import serve


@pytest.mark.slow
def test_clients_are_answered_without_an_error(tmp_path, run):
    flags = ("--clips=30", "--seconds=5", "--duration_s=3", "--clients=4", "--model=time")
    assert " 0 errors" in run(serve, f"--work_dir={tmp_path}", *flags)
