import pytest

from benchmarks import audit


@pytest.mark.slow
def test_it_prints_its_ratios(tmp_path, capsys):
    values = audit.FLAGS
    values(["", f"--work_dir={tmp_path}", "--clips=20", "--seconds=5", "--rounds=1"])
    audit.main(values, [])
    assert capsys.readouterr().out.count("audit / job = ") == 2
