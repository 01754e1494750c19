import pytest

from tools import planted_copies


@pytest.mark.slow
def test_every_planted_copy_is_found(run):
    status, printed = run(planted_copies, "--tracks=20", "--copies=20", "--seconds=30")
    assert status == 0
    assert "100.0%" in printed
