import os
import threading
from pathlib import Path

import numpy as np
import pytest

from beam_preprocess.audio import Reject
from trainer.serving import files
from trainer.serving.files import InputFile, list_inputs, open_audio, recognize_all


def paths(arguments):
    return [file.path for file in list_inputs([str(argument) for argument in arguments])]


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
    listed = paths([tmp_path / "any.thing", folder, tmp_path / "a.flac", "-", "missing.wav"])
    in_folder = [str(folder / name) for name in ("a.ogg", "c/d.mp3", "z.WAV")]
    assert listed == [str(tmp_path / "any.thing"), *in_folder, str(tmp_path / "a.flac"), "-", "missing.wav"]


def test_files_count_by_their_names_and_first_bytes_and_the_others_are_counted(tmp_path, capfd):
    for name in ("a.mid", "b", "c.jpg", "d.xyz", ".e.wav"):
        (tmp_path / name).write_bytes(b"OggS" if name == "b" else b"text")
    assert paths([tmp_path]) == [f"{tmp_path}/a.mid", f"{tmp_path}/b"]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert all(words in err for words in (str(tmp_path), "3 files", "1 .jpg", "1 .xyz", "1 hidden")), err


def test_a_folder_without_audio(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (file,) = list_inputs([str(tmp_path)])
    assert file.path == str(tmp_path)
    assert "a folder without audio" in file.reject.detail
    assert "1 .txt" in file.reject.detail


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


def test_answers_come_in_order_and_rejects_among_them(recognizer, songs):
    first, *others = list_inputs([str(songs)])
    inputs = [first, InputFile("missing.wav"), *others, InputFile("folder", Reject("unreadable", "known before"))]
    answers = list(recognize_all(recognizer, inputs, max_duration_s=5))
    assert [path for path, _ in answers] == [file.path for file in inputs]
    outcomes = [answer.reason if isinstance(answer, Reject) else len(answer.timeline) for _, answer in answers]
    assert outcomes == [1, "unreadable", 1, 2, "too_long", "unreadable"]
    with Path(first.path).open("rb") as file:
        np.testing.assert_allclose(answers[0][1].timeline, recognizer.recognize(file).timeline, atol=1e-6)


def test_an_answer_waits_for_none_but_those_before_it(recognizer, songs, monkeypatch):
    first, second = list_inputs([str(songs / name) for name in ("a.wav", "b.flac")])
    go_on = threading.Event()

    def slow_open(path):
        if path == second.path:
            assert go_on.wait(60)
        return Path(path).open("rb")

    monkeypatch.setattr(files, "open_audio", slow_open)
    answers = recognize_all(recognizer, [first, second], max_duration_s=60, threads=2)
    assert next(answers)[0] == first.path
    go_on.set()
    assert next(answers)[0] == second.path


def test_few_files_are_opened_ahead(recognizer, songs, monkeypatch):
    opened = []

    def counting_open(path):
        opened.append(path)
        return Path(path).open("rb")

    monkeypatch.setattr(files, "open_audio", counting_open)
    answers = recognize_all(recognizer, [InputFile(str(songs / "a.wav"))] * 50, max_duration_s=60, threads=2)
    next(answers)
    answers.close()
    assert 1 <= len(opened) <= 8
