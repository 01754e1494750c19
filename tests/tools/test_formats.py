import shutil

import numpy as np
import pytest
import soundfile

from tfrecords.command_line import UserError
from tools import formats
from tools.formats import Row


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    soundfile.write(tmp_path / "below" / "tone.flac", 0.3 * np.sin(np.arange(22050) / 9), 22050)
    (tmp_path / "text.mp3").write_text("no audio\n" * 100)
    (tmp_path / "notes.txt").write_text("no audio")
    return tmp_path


@pytest.mark.parametrize("installed", [True, False])
def test_files_of_a_folder_and_files(folder, installed, monkeypatch, capsys):
    if installed and not shutil.which("ffprobe"):
        pytest.skip("no ffprobe")
    if not installed:
        monkeypatch.setattr(shutil, "which", lambda name: None)
    assert formats.main(formats.FLAGS, [str(folder), str(folder / "notes.txt")]) == 0
    header, tone, text, notes, *_, last = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "file"
    flac = ["flac", "flac", "1.000", "1.000", "1.000", "+0"] if installed else ["-", "-", "-", "-", "1.000", "-"]
    assert tone.split() == ["below/tone.flac", *flac, "ok"]
    assert text.split()[0] == "text.mp3"
    assert "undecodable: " in text
    assert "unsupported_format: " in notes
    assert last.startswith("3 files, 2 rejected; 0 ")


@pytest.mark.parametrize(
    ("ffmpeg_s", "own_s", "verdict", "differs"),
    [
        (10.0, 10.04, "ok", False),
        (10.0, 9.94, "ok", True),
        (10.0, 10.0, "truncated: 10 of 20 s", True),
        (0.0, 0.0, "undecodable: no audio", False),
        (None, 10.0, "ok", False),
    ],
)
def test_what_fails(ffmpeg_s, own_s, verdict, differs):
    row = Row("a.mp3", "mp3", "mp3", None, ffmpeg_s, own_s, verdict)
    assert row.differs == differs


def test_mistakes(tmp_path):
    for arguments, message in ((["gone"], "gone: no such"), ([], "name files"), ([str(tmp_path)], "no audio in")):
        with pytest.raises(UserError, match=message):
            formats.main(formats.FLAGS, arguments)
