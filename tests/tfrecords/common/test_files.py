import os
from pathlib import Path

import pytest

from tfrecords.common.command_line import UserError
from tfrecords.common.files import (
    MAX_NAME_BYTES,
    atomic_write,
    lock_directory,
    open_regular,
    read_text,
    remove_temporary,
    write_text,
)


def test_a_directory_has_one_lock_at_a_time(tmp_path):
    with lock_directory(tmp_path, "working"):
        message = f"^{tmp_path}: another process is reading there$"
        with pytest.raises(UserError, match=message), lock_directory(tmp_path, "reading"):
            pass
    with lock_directory(tmp_path, "reading"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there(tmp_path):
    with (
        pytest.raises(UserError, match="gone cannot be used: No such file"),
        lock_directory(tmp_path / "gone", "working"),
    ):
        pass


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_file_that_cannot_be_finished_leaves_the_one_before(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("first")

    def fail():
        with atomic_write(path) as temporary:
            temporary.write_text("sec")
            assert path.read_text() == "first"
            raise error

    full = f"{path} cannot be written: No space left on device"
    with pytest.raises(UserError, match=full) if isinstance(error, OSError) else pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_who_write_a_file_do_not_mix_it(tmp_path):
    path = tmp_path / ("long" * 63 + ".md")
    assert len(path.name) == MAX_NAME_BYTES
    with atomic_write(path) as first:
        first.write_text("first")
        with atomic_write(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
        assert first.name.endswith(".md")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path):
    kept = ["file", ".tmp-model", "tmp-01234567-file", ".tmp-01234567-folder/file"]
    for name in (*kept, ".tmp-01234567-file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_temporary(tmp_path, older_than_s=60)
    assert (tmp_path / ".tmp-01234567-file").exists()
    remove_temporary(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_a_temporary_file_that_is_renamed_meanwhile_is_passed_over(tmp_path, monkeypatch):
    listed = [tmp_path / ".tmp-01234567-renamed", tmp_path / ".tmp-01234567-left"]
    listed[1].touch()
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(listed))
    # As if it were renamed between two looks at it.
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    remove_temporary(tmp_path)
    assert not listed[1].exists()


def test_a_signal_leaves_no_temporary_file(tmp_path, end_by_signal):
    path = tmp_path / "file"
    path.write_text("first")
    with pytest.raises(SystemExit), atomic_write(path) as temporary:
        temporary.write_text("sec")
        try:
            end_by_signal()
        finally:
            assert not temporary.exists()
    assert path.read_text() == "first"


def test_only_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    (tmp_path / "file").write_bytes(b"\xc3\xa4")
    assert read_text(tmp_path / "file") == "\xe4"


def test_a_text_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_text(path, "first")
    write_text(path, "Björk")
    assert path.read_bytes() == "Björk".encode()
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/taken cannot be written: Is a directory"):
        write_text(tmp_path / "taken", "text")
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        write_text(tmp_path / "no" / "file", "text")
    with pytest.raises(UserError, match=f"{path}/below cannot be written: Not a directory"):
        write_text(path / "below", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_a_file_that_is_not_synced_appears_whole_as_well(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for sync, calls in ((False, 0), (True, 2)):
        with atomic_write(tmp_path / "a.txt", sync=sync) as temporary:
            temporary.write_text(str(sync))
            assert not sync or (tmp_path / "a.txt").read_text() == "False"
        assert (tmp_path / "a.txt").read_text() == str(sync)
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
        # The file and its directory.
        assert len(synced) == calls
