import pytest

from benchmarks import scale


@pytest.mark.slow
def test_it_prints_its_ratios(tmp_path, capsys):
    values = scale.FLAGS
    values(["", f"--work_dir={tmp_path}", "--clips=20", "--seconds=5", "--times=2", "--rounds=1", "--long_hours=0.1"])
    scale.main(values, [])
    printed = capsys.readouterr().out
    for figure in ("further clip / bare = ", "larger / smaller = ", "difference = "):
        assert figure in printed
