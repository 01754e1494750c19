import pytest

from benchmarks import input_overhead


@pytest.mark.slow
def test_a_ratio_for_each_model(tmp_path, capsys):
    values = input_overhead.FLAGS
    values(["", f"--work_dir={tmp_path}", "--clips=16", "--steps=2", "--rounds=1"])
    input_overhead.main(values, [])
    assert capsys.readouterr().out.count("streamed / constant = ") == 2
