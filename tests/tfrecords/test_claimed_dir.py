import pytest

from tfrecords.claimed_dir import claimed
from tfrecords.command_line import UserError


def test_a_directory_has_one_claim_at_a_time(tmp_path):
    with claimed(tmp_path, "working"):
        message = f"^{tmp_path}: another process is reading there$"
        with pytest.raises(UserError, match=message), claimed(tmp_path, "reading"):
            pass
    with claimed(tmp_path, "reading"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="gone cannot be used: No such file"), claimed(tmp_path / "gone", "working"):
        pass
