import os

import pytest

from beam_preprocess.audio.formats import (
    EXTENSIONS,
    HEAD_BYTES,
    NO_AUDIO_EXTENSIONS,
    OTHER_MUSIC_EXTENSIONS,
    Selection,
    container_of,
    ending_of,
    head_of,
    is_audio_content,
    walk,
)
from tests.beam_preprocess.audio.audio_files import FILES, make_file

# Zeros, the middle of a frame and the rare free format are no sign of music.
_UNKNOWN = {"mp3 with zeros before it", "mp3 from the middle of a frame", "mp3 of free format"}


@pytest.mark.parametrize("name", FILES)
def test_audio_is_known_by_its_content(name):
    data = make_file(name)
    if data is None:
        pytest.skip("needs a program that is not installed")
    assert is_audio_content(data[:HEAD_BYTES]) == (name not in _UNKNOWN)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n" * 20,
        b"\xff\xfet\0e\0x\0t\0",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"PK\3\4",
        b"%PDF-1.7",
    ],
)
def test_what_is_no_audio_is_known_too(data):
    assert not is_audio_content(data)


def test_one_family_of_demuxers_is_asked_for():
    assert container_of(b"RIFF\0\0\0\0WAVEfmt ").demuxers == "wav"
    assert container_of(b"\0\0\0\x20ftypM4A ").demuxers == "mov"
    assert "mp3" in container_of(b"ID3\4").demuxers


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a/b.MP3", ".mp3"),
        ("a.b/c", ""),
        ("blues.00000", ""),
        ("Mr. Brightside", ""),
        ("x.tar.gz", ".gz"),
        (".bashrc", ""),
        ("caf\udce9.\udce9", ""),
    ],
)
def test_what_an_ending_is(name, ending):
    assert ending_of(name) == ending


def test_no_ending_is_both_music_and_none():
    assert not NO_AUDIO_EXTENSIONS & {*EXTENSIONS, *OTHER_MUSIC_EXTENSIONS}
    assert all(ending_of(f"x{ending}") == ending for ending in NO_AUDIO_EXTENSIONS)


def test_each_file_is_a_track_or_counted():
    selection = Selection()
    reads = []

    def head(content):
        return lambda: reads.append(content) or content

    assert selection.takes("rock/a.mp3", head(b""))
    assert selection.takes("rock/a.MID", head(b""))
    assert not selection.takes("rock/cover.JPG", head(b"OggS"))
    assert not selection.takes("rock/._a.mp3", head(b"OggS"))
    assert not selection.takes(".git/a.mp3", head(b"OggS"))
    assert reads == []
    assert selection.takes("rock/song", head(b"OggS"))
    assert selection.takes("rock/01. A song", head(b"fLaC"))
    assert not selection.takes("rock/notes", head(b"text"))
    assert not selection.takes("rock/x.xyz", head(b""))
    assert not selection.takes("rock/far")
    assert selection.others == {".jpg": 1, "hidden": 2, "without an ending": 2, ".xyz": 1}


def test_the_most_frequent_kinds_come_first_and_the_rest_is_counted():
    selection = Selection()
    assert selection.describe() == ""
    for ending, count in {"txt": 3, "jpg": 9, "log": 1, "pdf": 1, "nfo": 1, "ini": 1}.items():
        for _ in range(count):
            selection.takes(f"x.{ending}")
    said = selection.describe()
    assert said.startswith("16 files")
    assert said.endswith("9 .jpg, 3 .txt, 1 .ini, 1 .log, and 2 more")


def test_a_folder_is_walked_and_what_is_hidden_is_counted(tmp_path):
    for name in ("b/song", "b/a.wav", "b/.x.wav", "b/notes.txt", ".git/one", ".git/two/three.wav", "lost+found/a.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"OggS" + bytes(100))
    selection = Selection()
    found = [os.path.relpath(path, tmp_path) for path in walk(str(tmp_path), selection, pytest.fail)]
    assert found == ["b/a.wav", "b/song"]
    assert selection.others == {"hidden": 3, ".txt": 1}


def test_little_of_a_file_is_read_and_nothing_of_a_pipe(tmp_path):
    (tmp_path / "long").write_bytes(b"x" * 10_000)
    os.mkfifo(tmp_path / "pipe")
    assert len(head_of(f"{tmp_path}/long")) == HEAD_BYTES
    with pytest.raises(OSError, match="not a regular file"):
        head_of(f"{tmp_path}/pipe")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    selection = Selection()
    assert list(walk(str(tmp_path), selection, pytest.fail)) == []
    assert selection.others == {"unreadable": 2, "without an ending": 1}
