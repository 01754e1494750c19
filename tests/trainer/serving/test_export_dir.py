from pathlib import Path

import pytest

from tfrecords.command_line import UserError
from trainer.serving.export_dir import FACTS_FILE, check_free, whole_directory


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


def test_nothing_but_an_export_is_replaced(tmp_path):
    target = tmp_path / "model"
    check_free(target, overwrite=False)
    target.mkdir()
    check_free(target, overwrite=False)
    (target / "holiday.jpg").write_text("")
    with pytest.raises(UserError, match="no exported model; choose another"):
        check_free(target, overwrite=True)
    with pytest.raises(UserError, match="no exported model; choose another"):
        check_free(target / "holiday.jpg", overwrite=True)
    (target / FACTS_FILE).write_text("{}")
    with pytest.raises(UserError, match="--overwrite replaces it"):
        check_free(target, overwrite=False)
    check_free(target, overwrite=True)
