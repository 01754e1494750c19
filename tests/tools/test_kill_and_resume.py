import pytest

from tools import kill_and_resume


@pytest.mark.slow
def test_killed_jobs_give_what_an_unbroken_one_gives(tmp_path, run):
    flags = ("--clips=60", "--seconds=20", "--kills=3", "--num_shards=8")
    status, printed = run(kill_and_resume, f"--work_dir={tmp_path}", *flags)
    assert status == 0
    assert printed.count("again: identical") == 3
    assert "3 of 3 killed jobs" in printed
