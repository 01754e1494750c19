import pytest


@pytest.fixture
def output(tmp_path):
    """An unfinished job's directory: two shards, one of them finished."""
    (tmp_path / ".partial").mkdir()
    (tmp_path / "rejects.jsonl").write_text("")
    for index in range(2):
        (tmp_path / f"set-fold_0.tfrecord-0000{index}-of-00002").write_bytes(bytes([index]))
    (tmp_path / ".partial" / "set-fold_0.tfrecord-00000-of-00002.json").write_text("{}")
    (tmp_path / ".partial" / "job.json").write_text("{}")
    return tmp_path
