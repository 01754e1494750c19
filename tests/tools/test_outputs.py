from tools import outputs


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
