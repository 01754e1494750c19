import pytest

from tools import many_files


@pytest.mark.slow
def test_all_files_come_out(tmp_path, run):
    flags = ("--unusable=100", "--unusable_runs=1", "--good=100", "--good_runs=1")
    status, printed = run(many_files, f"--work_dir={tmp_path}", *flags)
    assert status == 0
    unusable, good = printed.splitlines()
    assert unusable.startswith("100 unusable files, run 1: ") and unusable.endswith("all came out")
    assert good.startswith("100 good files, run 1: ") and good.endswith("all came out")
