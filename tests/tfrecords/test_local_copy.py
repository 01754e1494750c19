import errno
import io
from pathlib import Path

import pytest

from tfrecords import local_copy
from tfrecords.local_copy import copy_shards
from tfrecords.shard import ShardError


@pytest.fixture
def copied(own, tmp_path):
    """The shards of a part, and what copies them."""
    files, shards = own.shards("fold_1"), own.manifest.parts["fold_1"].shards
    return files, lambda: copy_shards(list(map(str, files)), shards, tmp_path / "cache")


def test_copies_have_the_content_of_the_shards(copied, tmp_path):
    files, copy = copied
    assert [Path(path).read_bytes() for path in copy()] == [path.read_bytes() for path in files]
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("fault", ["missing", "unreadable"])
def test_a_shard_that_cannot_be_read_is_told_of_not_the_cache(copied, tmp_path, monkeypatch, fault):
    class Broken(io.BytesIO):
        def read(self, size):
            raise OSError(errno.EIO, "Input/output error")

    files, copy = copied
    if fault == "missing":
        files[1].unlink()
        reason = "No such file or directory"
    else:
        monkeypatch.setattr(local_copy, "open_shard", lambda path: Broken() if path == files[1] else path.open("rb"))
        reason = "Input/output error"
    with pytest.raises(ShardError, match=f"^{files[1]} cannot be read: {reason}$"):
        copy()
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".tfrecord"]


def test_two_may_copy_one_shard_at_once(copied, tmp_path, monkeypatch):
    files, copy = copied
    copies, open_shard = [], local_copy.open_shard

    def while_another_copies(path):
        monkeypatch.setattr(local_copy, "open_shard", open_shard)
        copies.extend(copy())
        return open_shard(path)

    monkeypatch.setattr(local_copy, "open_shard", while_another_copies)
    assert copy() == copies
    assert {path.read_bytes() for path in (tmp_path / "cache").iterdir()} == {path.read_bytes() for path in files}
