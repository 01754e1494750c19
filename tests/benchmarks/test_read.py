import pytest

from benchmarks import read


@pytest.mark.slow
def test_it_prints_its_ratios(tmp_path, run):
    printed = run(read, f"--work_dir={tmp_path}", "--clips=32", "--seconds=5", "--shards=4", "--rounds=1")
    for figure in (
        "from disk / usual reader = ",
        "in memory / float32 tensor = ",
        "larger / smaller = ",
        "first batch",
    ):
        assert figure in printed
