import pytest

from benchmarks import preprocess


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "peers"), [("--mp3", ["librosa pool"]), ("--nomp3", ["librosa loop", "usual Beam job"])]
)
def test_it_prints_its_ratios(tmp_path, run, kind, peers):
    printed = run(preprocess, f"--work_dir={tmp_path}", "--clips=40", "--seconds=5", "--rounds=1", kind)
    assert " clips of 5 s on " in printed
    rows = [line for line in printed.splitlines() if line.startswith(tuple(peers))]
    assert len(rows) == len(peers)
