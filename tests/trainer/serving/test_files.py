import os

import pytest

from beam_preprocess.audio import Reject
from trainer.serving.files import list_inputs, open_audio


def paths(arguments):
    return [named.path for named in list_inputs([str(argument) for argument in arguments])]


def test_files_as_they_are_and_folders_sorted(tmp_path):
    for name in (
        "b/z.WAV",
        "b/a.ogg",
        "b/c/d.mp3",
        "b/notes.txt",
        "b/.hidden.wav",
        "b/.git/e.wav",
        "a.flac",
        "any.thing",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b" / "again").symlink_to(tmp_path / "b")
    folder = tmp_path / "b"
    found = paths([tmp_path / "any.thing", folder, tmp_path / "a.flac", "-", "missing.wav"])
    in_folder = [str(folder / name) for name in ("a.ogg", "c/d.mp3", "z.WAV")]
    assert found == [str(tmp_path / "any.thing"), *in_folder, str(tmp_path / "a.flac"), "-", "missing.wav"]


def test_files_count_by_their_names_and_first_bytes_and_the_others_are_told(tmp_path, capfd):
    for name in ("a.mid", "b", "c.jpg", "d.xyz", ".e.wav"):
        (tmp_path / name).write_bytes(b"OggS" if name == "b" else b"text")
    assert paths([tmp_path]) == [f"{tmp_path}/a.mid", f"{tmp_path}/b"]
    out, said = capfd.readouterr()
    assert out == ""
    assert said.count("\n") == 1
    assert all(words in said for words in (str(tmp_path), "3 files", "1 .jpg", "1 .xyz", "1 hidden")), said


def test_a_folder_without_audio(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (named,) = list_inputs([str(tmp_path)])
    assert named.path == str(tmp_path)
    assert "a folder without audio" in named.reject.detail
    assert "1 .txt" in named.reject.detail


@pytest.mark.parametrize(
    ("name", "detail"), [("missing.wav", "No such file"), ("folder", "Is a directory"), ("pipe.wav", "not a regular")]
)
def test_what_cannot_be_opened(name, detail, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(Reject, match=detail):
        open_audio(str(tmp_path / name))
    with pytest.raises(Reject, match="null"):
        open_audio("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "a.wav").chmod(0)
    with pytest.raises(Reject, match="Permission denied"):
        open_audio(str(tmp_path / "a.wav"))
