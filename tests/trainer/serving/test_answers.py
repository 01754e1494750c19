import dataclasses
import json

import numpy as np
import pytest

from beam_preprocess.audio import Reject
from trainer.evaluation.calibration import Calibration
from trainer.evaluation.confidence import Confidence
from trainer.serving.answers import as_json, as_text, reject_as_json
from trainer.serving.recognizer import Recognition


def recognition_of(timeline, *, note=None):
    timeline = np.array(timeline, np.float32).reshape(-1, 2)
    return Recognition(
        labels=("jazz", "electronic"),
        probabilities=timeline.sum(axis=0) / max(1, len(timeline)),
        timeline=timeline,
        starts_s=np.arange(len(timeline)) * 2.0,
        patch_s=2.0,
        duration_s=2.0 * len(timeline) + 0.5,
        log_mel=np.zeros((3, 4), np.float32),
        note=note,
    )


def test_text_puts_the_likeliest_first_and_draws_the_time():
    text = as_text("a.wav", recognition_of([[0.1, 0.9], [0.5, 0.5], [0.0, 1.0]]))
    assert text.splitlines() == [
        "a.wav: electronic 80.0 %",
        "  electronic  80.0 % |▇▄█|",
        "  jazz        20.0 % |▁▄ |",
        "                     a column is 2.00 s, the file 6.5 s",
    ]


def test_a_terminal_without_bars_gets_plain_characters():
    text = as_text("a.wav", recognition_of([[0.1, 0.9], [0.0, 1.0]]), encoding="ascii")
    assert "|#@|" in text
    text.encode("ascii")


def test_a_long_file_fits_into_a_line():
    text = as_text("a.wav", recognition_of([[0.0, 1.0]] * 100 + [[1.0, 0.0]] * 50))
    bars = text.splitlines()[1].partition("|")[2]
    assert bars == "█" * 33 + "▃" + " " * 16 + "|"
    assert "a column is 6.00 s, the file 300.5 s" in text


def test_json_is_one_line_with_everything():
    line = as_json("a\udcff\n.wav", recognition_of([[0.25, 0.75], [0.0, 1.0]]))
    assert "\n" not in line
    assert json.loads(line) == {
        "path": "a\udcff\n.wav",
        "genre": "electronic",
        "note": None,
        "probabilities": {"jazz": 0.125, "electronic": 0.875},
        "duration_s": 4.5,
        "patch_s": 2.0,
        "timeline": [
            {"start_s": 0.0, "probabilities": {"jazz": 0.25, "electronic": 0.75}},
            {"start_s": 2.0, "probabilities": {"jazz": 0.0, "electronic": 1.0}},
        ],
    }
    assert sum(json.loads(line)["probabilities"].values()) == pytest.approx(1)
    assert json.loads(reject_as_json("b", Reject("empty", "no samples"))) == {
        "path": "b",
        "reason": "empty",
        "detail": "no samples",
    }


def test_silence_is_said_to_have_no_genre():
    silent = recognition_of([], note="silent")
    assert as_text("a.wav", silent) == "a.wav: silent: no genre"
    assert json.loads(as_json("a.wav", silent)) == {
        "path": "a.wav",
        "genre": None,
        "note": "silent",
        "probabilities": None,
        "duration_s": 0.5,
        "patch_s": 2.0,
        "timeline": [],
    }


def test_channels_that_cancel_are_said():
    recognition = recognition_of([[0.25, 0.75]], note="channels cancel")
    first, second, *_ = as_text("a.wav", recognition).splitlines()
    assert first == "a.wav: electronic 75.0 %"
    assert second.startswith("  channels cancel: next to nothing is left")
    found = json.loads(as_json("a.wav", recognition))
    assert (found["genre"], found["note"]) == ("electronic", "channels cancel")


def test_labels_that_are_not_unicode_are_escaped():
    recognition = dataclasses.replace(recognition_of([[0.1, 0.9]]), labels=("jazz", "r\udcf6ck"))
    text = as_text("a.wav", recognition)
    assert text.splitlines()[0] == r"a.wav: r\udcf6ck 90.0 %"
    text.encode("utf-8")


def answered(probabilities, *, labels=("jazz", "electronic", "rock", "pop", "folk", "blues"), **changes):
    """A recognition with the answer of a confidence that scales nothing, sets of 20 % and sure answers from 40 %."""
    calibration = Calibration(temperature=1.0, least_probability=0.1, coverage=0.9, tracks=9, groups=9)
    confidence = Confidence(calibration, error=0.25, sure_from=0.4, farthest=1.0)
    probabilities = np.array(probabilities, np.float32)
    return dataclasses.replace(
        recognition_of([[0.1, 0.9]]),
        labels=labels[: len(probabilities)],
        probabilities=probabilities,
        timeline=probabilities[np.newaxis],
        answer=confidence.apply(probabilities, changes.get("distance", 0.5)),
    )


@pytest.mark.parametrize(
    ("recognition", "words", "first_line"),
    [
        (answered([0.05, 0.9, 0.05]), "electronic", "electronic 90.0 %"),
        (answered([0.05, 0.5, 0.45]), "electronic or rock", "electronic or rock (electronic 50.0 %)"),
        (
            answered([0.05, 0.35, 0.3, 0.3]),
            "not sure: electronic, rock or pop",
            "not sure: electronic, rock or pop (electronic 35.0 %)",
        ),
        (
            answered([0.05, 0.9, 0.05], distance=1.5),
            "unlike the training music",
            "unlike the training music (electronic 90.0 %)",
        ),
        (
            answered([0.05, 0.25, 0.2, 0.15, 0.2, 0.15]),
            "not sure: electronic, rock, folk or 2 more",
            "not sure: electronic, rock, folk or 2 more (electronic 25.0 %)",
        ),
        # All labels are no answer.
        (answered([0.6, 0.4]), "jazz", "jazz 60.0 %"),
    ],
)
def test_what_an_answer_is_worth_is_said_in_words_and_in_json(recognition, words, first_line):
    assert as_text("a.wav", recognition).splitlines()[0] == f"a.wav: {first_line}"
    found = json.loads(as_json("a.wav", recognition))
    assert found["genre"] == recognition.label
    assert found["confidence"]["words"] == words
    assert found["confidence"]["set"][0] == recognition.label
    assert found["confidence"]["familiar"] == (words != "unlike the training music")
    assert found["confidence"]["sure"] == (max(recognition.probabilities) >= 0.4)
    assert sum(found["confidence"]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
