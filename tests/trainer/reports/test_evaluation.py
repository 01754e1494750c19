import dataclasses
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from tfrecords.common import files
from tfrecords.common.command_line import UserError
from tfrecords.plots import Spectrogram
from trainer.evaluation import intervals, metrics
from trainer.evaluation.summary import NewGroups, Summary
from trainer.reports import evaluation

HOSTILE = "<script>alert('1')</script> & \"x\" ü\udcff\0"


def summary(wrong=0, tracks=120, names=("blues", HOSTILE, "jazz")):
    labels = np.arange(tracks) % 2
    guesses = np.where(np.arange(tracks) < wrong, 1 - labels, labels)
    probabilities = np.full((tracks, len(names)), 0.1, np.float32)
    probabilities[np.arange(tracks), guesses] = np.linspace(0.5, 0.8, tracks)
    ids = [f"{HOSTILE}/{number:03d}.wav" for number in range(tracks)]
    return summary_of(metrics.Predictions(probabilities, labels.astype(np.int32), ids, names))


def summary_of(predictions, groups=None):
    return Summary(
        scores=metrics.summarize(predictions, groups),
        data_dir="DATA",
        parts=("test",),
        model="black_box",
        recipe="modern",
        seed=0,
        seen_in_training=False,
        groups="not_given",
        new_groups=None,
        tracks_without_patch=0,
    )


HISTORY = {"loss": [2.0, 1.0], "val_loss": [2.1, 1.5], "accuracy": [0.3, 0.6], "val_accuracy": [0.3, 0.4]}
SAMPLES = [Spectrogram(np.random.default_rng(0).uniform(0, 5, (80, 40)), f"{HOSTILE} $x", 43.07)]
FACTS = {"Model": "black_box", HOSTILE: HOSTILE}


def write(path, **changes):
    contents = {"summary": summary(wrong=60), "history": HISTORY, "samples": SAMPLES, "facts": FACTS} | changes
    files.write_text(path, evaluation.render(contents.pop("summary"), **contents))
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write(tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def page(text, parse_page):
    return parse_page(text)


def test_needs_nothing_from_elsewhere(text, page):
    assert not re.search(r"https?://|@import|url\(", text)
    assert not page.all("script") and not page.all("iframe")
    references = [a[k] for _, a in page.tags for k in ("src", "href", "srcset") if k in a]
    assert len(references) == 7 and all(reference.startswith("data:") for reference in references)
    assert {"rel": "icon", "href": "data:,"} in page.all("link")


def test_hostile_names_are_shown_not_obeyed(text, page):
    assert "<script" not in text
    assert "<script>alert('1')</script> & \"x\" ü\\udcff\\x00" in page.text
    assert not re.search(r"[\0\ud800-\udfff]", text)


def test_is_semantic_and_accessible(page):
    names = [tag for tag, _ in page.tags]
    assert names.count("h1") == 1 and names.count("h2") == names.count("section") - 1 == 7
    assert page.all("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert all(head.get("scope") in ("row", "col") for head in page.all("th"))
    pictures = page.all("img")
    assert len(pictures) == 3 and all(len(picture["alt"]) > 30 for picture in pictures)
    assert all(int(picture["width"]) > 100 and int(picture["height"]) > 100 for picture in pictures)


def test_says_what_was_found(page):
    low, high = intervals.wilson_interval(60, 120)
    for words in ("50.0 %", "of 120 test tracks recognised", f"{100 * low:.1f} % to {100 * high:.1f} %", "black_box"):
        assert words in page.text
    assert "60 tracks in all, the most confident mistake first. 10 more are not shown." in page.text
    wrong_ids = [number for number in range(60) if f"/{number:03d}.wav" in page.text]
    assert wrong_ids == list(range(10, 60))  # those of the highest probability
    assert page.text.index("/059.wav") < page.text.index("/010.wav")


@pytest.mark.usefixtures("no_pictures")
def test_training_data_do_not_pass_for_a_test(tmp_path, page, parse_page):
    assert "Genre recognition, test report: 50.0 %" in page.text
    page = parse_page(write(tmp_path / "report.html", summary=dataclasses.replace(summary(60), seen_in_training=True)))
    assert "Genre recognition, report on training data: 50.0 %" in page.text
    assert "Music genre recognition: report on training data" in page.text
    assert "of 120 tracks recognised, training data: no score for new music" in page.text
    assert "test report" not in page.text and "test tracks" not in page.text


def test_cards_are_as_high_as_what_they_hold(text):
    assert re.search(r"\nmain \{[^}]*align-items: start;", text)


@pytest.mark.usefixtures("no_pictures")
def test_sections_without_content_are_left_out(tmp_path, parse_page):
    page = parse_page(write(tmp_path / "report.html", summary=summary(), history=None, samples=[], facts={}))
    assert len(page.all("img")) == 1
    assert "Learning curves" not in page.text and "Samples" not in page.text
    assert "None: every track was recognised." in page.text and "No genre was taken for another." in page.text
    assert "Learning curves" not in parse_page(write(tmp_path / "report.html", history={})).text


@pytest.mark.usefixtures("no_pictures")
def test_curves_of_a_training_without_validation_say_so(tmp_path, page, parse_page):
    history = {name: HISTORY[name] for name in ("loss", "accuracy")}
    alone = parse_page(write(tmp_path / "report.html", history=history))
    assert "There was no validation: these are the curves of training" in alone.text
    assert "no validation" not in page.text
    assert any(picture["alt"].endswith("accuracy over 2 epochs.") for picture in alone.all("img"))


@pytest.mark.parametrize(("wrong", "words"), [(1, "1 track in all"), (50, "first."), (51, "1 more is not shown.")])
@pytest.mark.usefixtures("no_pictures")
def test_counts_the_wrong_tracks_that_are_left_out(tmp_path, wrong, words, parse_page):
    page = parse_page(write(tmp_path / "report.html", summary=summary(wrong), history=None, samples=[]))
    assert words in page.text and ("not shown" in page.text) == (wrong > 50)


@pytest.mark.usefixtures("no_pictures")
def test_thirty_genres_and_one(tmp_path, parse_page):
    for count in (1, 30):
        names = tuple(f"genre {number}" for number in range(count))
        predictions = metrics.Predictions(np.eye(count, dtype=np.float32), np.arange(count), names, names)
        parse_page(write(tmp_path / "report.html", summary=summary_of(predictions), history=None, samples=[]))


def test_a_failed_write_leaves_the_old_report_alone(tmp_path, monkeypatch, request):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="history must hold"):
        write(path, history={"loss": [1.0], "accuracy": []} | {"val_loss": [1.0, 2.0]})
    request.getfixturevalue("no_pictures")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(UserError, match=r"report\.html cannot be written: disk full"):
        write(path, history=None, samples=[])
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_same_input_gives_the_same_bytes(tmp_path, text):
    assert write(tmp_path / "other.html") == text


@pytest.mark.usefixtures("no_pictures")
def test_the_statistic_of_the_interval_is_named(tmp_path, page, parse_page):
    assert "The interval is Wilson's and takes the tracks as independent" in page.text
    predictions = metrics.Predictions(np.eye(2, dtype=np.float32), np.arange(2), ["a", "b"], ("x", "y"))
    grouped = summary_of(predictions, {"a": "one artist", "b": "one artist"})
    text = parse_page(write(tmp_path / "report.html", summary=grouped, history=None, samples=[])).text
    assert "The interval is Wilson's with the 1 group of tracks" in text and "too few, or too alike" in text


@pytest.mark.usefixtures("no_pictures")
def test_a_bootstrap_is_named_and_another_interval_of_new_artists(tmp_path, parse_page):
    ids = [str(number) for number in range(20)]
    labels = (np.arange(20) > 3).astype(np.int32)
    predictions = metrics.Predictions(np.tile(np.eye(2, dtype=np.float32)[1], (20, 1)), labels, ids, ("x", "y"))
    grouped = summary_of(predictions, dict(zip(ids, ids, strict=True)))
    few = summary_of(predictions, dict.fromkeys(ids, "one artist")).scores
    torn = dataclasses.replace(grouped, new_groups=(NewGroups("training", ["A"], 1, few),))
    for written, other in ((grouped, False), (torn, True)):
        text = parse_page(write(tmp_path / "report.html", summary=written, history=None, samples=[])).text
        assert "The interval is a bootstrap over the 20 groups of tracks" in text
        assert ("For artists new to training it is Wilson's with the 1 group" in text) == other == ("Wilson" in text)


@pytest.mark.usefixtures("no_pictures")
def test_artists_that_are_new_have_a_row(tmp_path, parse_page):
    new = NewGroups("training", ["A"], 60, summary(10, tracks=60).scores)
    both = dataclasses.replace(summary(60), new_groups=(new, NewGroups("training and validation", ["A"], 120, None)))
    text = parse_page(write(tmp_path / "report.html", summary=both, history=None, samples=[])).text
    assert "Tracks, artists new to training83.3 %" in text and "new to training and validation" not in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [500, 1400])
def test_chromium_draws_it(tmp_path, text, width):
    (tmp_path / "report.html").write_text(text, "utf-8")
    picture = tmp_path / "page.png"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", f"--screenshot={picture}"]
    subprocess.run([*command, (tmp_path / "report.html").as_uri()], check=True, capture_output=True, timeout=600)
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape[1] == width and pixels.std() > 10
