from pathlib import Path

import pytest

from tfrecords.common.command_line import UserError
from trainer.serving.export_dir import whole_directory


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fill(target, text):
    with whole_directory(target) as folder:
        (folder / "file").write_text(text)


def test_a_directory_appears_whole_and_is_replaced_whole(tmp_path):
    target = tmp_path / "above" / "model"
    fill(target, "first")
    fill(target, "second")
    assert (target / "file").read_text() == "second"
    assert names(tmp_path / "above") == ["model"]


def test_what_fails_leaves_what_was_there(tmp_path):
    target = tmp_path / "model"
    fill(target, "first")
    with pytest.raises(KeyboardInterrupt), whole_directory(target) as folder:
        (folder / "file").write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(UserError, match="cannot be written: No space left"), whole_directory(target) as folder:
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == ["model"]
    assert (target / "file").read_text() == "first"


def test_stopped_between_two_renames_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "model"
    fill(target, "first")
    rename = Path.rename

    def stopped(self, new):
        if new == target and ".tmp" in self.name:
            raise KeyboardInterrupt
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        fill(target, "second")
    assert names(tmp_path) == ["model"]
    assert (target / "file").read_text() == "first"


def test_a_link_stays_one(tmp_path):
    fill(tmp_path / "model-1", "first")
    (tmp_path / "current").symlink_to("model-1")
    fill(tmp_path / "current", "second")
    assert (tmp_path / "current").is_symlink()
    assert (tmp_path / "model-1" / "file").read_text() == "second"


def test_a_signal_leaves_what_was_there(tmp_path, end_by_signal):
    target = tmp_path / "model"
    fill(target, "first")
    with pytest.raises(SystemExit), whole_directory(target) as folder:
        (folder / "file").write_text("half")
        try:
            end_by_signal()
        finally:
            assert names(tmp_path) == ["model"]
    assert (target / "file").read_text() == "first"


def test_what_a_killed_export_has_left_is_put_in_order(tmp_path):
    target = tmp_path / "model"
    # Between its two renames.
    (tmp_path / ".old-model").mkdir()
    (tmp_path / ".old-model" / "file").write_text("first")
    (tmp_path / ".tmp-model" / "variables").mkdir(parents=True)
    (tmp_path / ".tmp-model" / "half").write_text("half")
    with pytest.raises(UserError, match="no room"), whole_directory(target):
        raise UserError("no room")
    assert names(tmp_path) == ["model"] and (target / "file").read_text() == "first"
    (tmp_path / ".tmp-model").mkdir()
    (tmp_path / ".tmp-model" / "half").write_text("half")
    fill(target, "second")
    assert names(tmp_path) == ["model"] and names(target) == ["file"]


def test_one_at_a_time_writes_a_directory(tmp_path):
    with whole_directory(tmp_path / "model") as folder:
        (folder / "file").write_text("first")
        with pytest.raises(UserError, match="another process is exporting there"):
            fill(tmp_path / "model", "second")
    assert (tmp_path / "model" / "file").read_text() == "first"
