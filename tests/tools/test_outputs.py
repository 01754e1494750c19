import pytest

from tools import outputs


@pytest.fixture
def output(tmp_path):
    """A job's directory: two shards, and the sidecar of one."""
    (tmp_path / ".partial").mkdir()
    (tmp_path / "rejects.jsonl").write_text("")
    for index in range(2):
        (tmp_path / f"set-fold_0.tfrecord-0000{index}-of-00002").write_bytes(bytes([index]))
    (tmp_path / ".partial" / "set-fold_0.tfrecord-00000-of-00002.json").write_text("{}")
    (tmp_path / ".partial" / "job.json").write_text("{}")
    return tmp_path


def test_sidecars_are_those_of_shards(output):
    assert [path.name for path in outputs.sidecars(output)] == ["set-fold_0.tfrecord-00000-of-00002.json"]


def test_any_other_byte_is_a_difference(output):
    expected = outputs.digests(output)
    (output / "metrics.json").write_text("{}")
    assert outputs.differences(outputs.digests(output), expected) == []
    (output / "set-fold_0.tfrecord-00001-of-00002").write_bytes(b"x")
    (output / "rejects.jsonl").unlink()
    (output / "stray").touch()
    assert outputs.differences(outputs.digests(output), expected) == [
        "rejects.jsonl: missing",
        "stray: the other run has no such file",
        "set-fold_0.tfrecord-00001-of-00002: its bytes differ",
    ]
