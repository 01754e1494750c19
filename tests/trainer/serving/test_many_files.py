import threading
from pathlib import Path

import numpy as np

from beam_preprocess.audio import Reject
from trainer.serving import files
from trainer.serving.files import InputFile, list_inputs, recognize_all


def test_answers_come_in_order_with_what_failed(recognizer, songs):
    first, *others = list_inputs([str(songs)])
    files = [first, InputFile("missing.wav"), *others, InputFile("folder", Reject("unreadable", "known before"))]
    answers = list(recognize_all(recognizer, files, max_duration_s=5))
    assert [path for path, _ in answers] == [file.path for file in files]
    found = [answer.reason if isinstance(answer, Reject) else len(answer.timeline) for _, answer in answers]
    assert found == [1, "unreadable", 1, 2, "too_long", "unreadable"]
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
