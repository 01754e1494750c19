import pytest

from tools import fuzz_audio


@pytest.mark.slow
def test_the_job_takes_what_it_is_given(tmp_path, run):
    status, printed = run(fuzz_audio, f"--work_dir={tmp_path}", "--files=150", "--good=20")
    assert status == 0, printed
    assert "few bits: accepted" in printed and "lie: " in printed
    assert "170 files in " in printed
