import json
import re
import shutil

import pytest

from tfrecords.common.command_line import UserError
from trainer.reports import cross_validation
from trainer.reports.cross_validation import write_report


@pytest.fixture(scope="module")
def text(cross_validated):
    path = write_report(cross_validated)
    assert path == cross_validated / "report.html"
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def page(text, parse_page):
    return parse_page(text)


def section(text, title):
    (found,) = re.findall(rf"<section[^>]*>\s*<h2>{title}.*?</section>", text, re.S)
    return found


def only_black_box(results):
    results["models"] = {"black_box": results["models"]["black_box"]}


@pytest.fixture
def changed(cross_validated, tmp_path, monkeypatch, no_pictures):
    """Writes the report of the same cross-validation with other results, without filters and pictures."""
    monkeypatch.setattr(cross_validation, "_filters", lambda *_: [])

    def write(change, **options):
        shutil.copytree(cross_validated, tmp_path / "cv")
        path = tmp_path / "cv" / "results.json"
        results = json.loads(path.read_text())
        change(results)
        path.write_text(json.dumps(results))
        return write_report(tmp_path / "cv", **options).read_text("utf-8")

    return write


def test_needs_nothing_from_elsewhere(text, page):
    assert not re.search(r"https?://|@import|url\(", text)
    for tag in ("script", "iframe", "audio", "video"):
        assert not page.all(tag)
    references = [a[k] for tag, a in page.tags for k in ("src", "href", "srcset") if k in a and tag != "a"]
    assert len(references) > 10 and all(reference.startswith("data:") for reference in references)
    assert all(len(picture["alt"]) > 30 for picture in page.all("img"))
    assert len(text) < 6e6


def test_says_what_was_found(text, page):
    for words in (
        "Music genre recognition: cross-validation on tiny",
        "the best of 3 models by this very number",
        "bootstrap over artists",
        "18 artists or other groups, none in two folds",
        "fold_0",
        "gain_db=3",
    ):
        assert words in page.text


def test_whether_a_fold_chose_the_epoch_is_told(text, changed):
    assert "3; each tests models trained on the others, the fold before it chooses their epoch" in text
    other = changed(lambda results: results["training"].update(validates=False))
    assert "3; each tests models trained on all others, without validation" in other and "chooses" not in other


def test_options_precision_and_resizing_are_told_where_they_are_not_the_usual(text, changed):
    assert "Precision" not in text and "Model options" not in text and "80 frames, 1.86 s" in text
    unusual = {"model_options": {"filters": 4}, "precision": "bfloat16", "patch_mode": "resize"}
    other = changed(lambda results: results["training"].update(unusual))
    assert 'Model options</th><td class="text">filters=4</td>' in other
    assert 'Precision</th><td class="text">bfloat16</td>' in other
    assert 'Patch</th><td class="text">each clip resized to 80 frames</td>' in other


def test_the_best_model_makes_the_headline(text):
    (found,) = re.findall(r'<section class="headline">.*?</section>', text, re.S)
    assert '<div class="figure">72.2 %</div>' in found and "<p>of 18 tracks recognised by time</p>" in found
    assert "95 % interval 62.2 % to 82.2 %" in found


def test_every_model_has_its_own_row(text):
    rows = dict(re.findall(r'<tr><th scope="row">(\w+)</th>(.*?)</tr>', section(text, "Models")))
    figures = {"black_box": ("50.0", "40.0", "60.0"), "time": ("72.2", "62.2", "82.2")}
    figures["time_frequency"] = ("66.7", "56.7", "76.7")
    assert list(rows) == list(figures)
    for name, (accuracy, low, high) in figures.items():
        assert rows[name].count("12,345") == 1 and rows[name].count(f"{accuracy} ± 5.0 %") == 3
        assert rows[name].count(f"{low} to {high} %") == 2


def test_every_column_of_the_genres_is_its_models(text):
    rows = re.findall(r'<tr><th scope="row">(\w+)</th>(.*?)</tr>', section(text, "Genres"))
    assert {name: re.findall(r'<td class="shaded"[^>]*>([\d.]+) %</td>', row) for name, row in rows} == {
        "blues": ["50.0", "66.7", "0.0"],
        "jazz": ["50.0", "66.7", "100.0"],
        "rock": ["50.0", "83.3", "100.0"],
    }


def test_the_papers_figures_stand_apart_as_another_data_sets(text):
    models = section(text, "Models")
    figures = re.findall(r'<td class="elsewhere">(.*?)</td>', models)
    assert figures == ["87.25 ± 3.39 %", "81.79 ± 4.72 %", "86.54 ± 4.29 %"]
    assert "Ballroom: another data set" in models and "no result of this run" in models
    assert '<th scope="col" class="elsewhere">as quoted of the paper, not checked</th>' in models
    assert text.count("87.25") == 1


def test_intervals_of_differences_claim_no_more_than_they_hold(text):
    pairs = section(text, "Differences between models")
    assert "of these trained models: other trainings (seeds, folds) would vary the difference further" in pairs
    assert "apart" not in pairs and "twenty" not in pairs


def test_pairs_are_drawn_on_one_scale_around_zero(text):
    pairs = section(text, "Differences between models")
    assert pairs.count("<tr>") == 1 + 3
    assert (
        "black_box \N{MINUS SIGN} time_frequency" in pairs
        and "\N{MINUS SIGN}5.2" in pairs
        and "\N{MINUS SIGN}11.3 to +2.4" in pairs
    )
    assert "\N{MINUS SIGN}15" in pairs and "+15" in pairs
    # -11.3 points of 15 to either side: (1 - 11.3 / 15) / 2 of the width, and 13.7 / 30 wide.
    assert pairs.count("left:12.33%;width:45.67%") == 3 and pairs.count('"chance" style="left:50.00%"') == 3


def test_every_model_has_its_matrix_and_those_with_such_filters_show_them(text):
    mistakes = {"black_box": "jazz (3 tracks)", "time": "rock (2 tracks)", "time_frequency": "jazz (6 tracks)"}
    for name, mistake in mistakes.items():
        said = f"Most often confused: blues, taken for {mistake}."
        matrix = section(text, f"Confusion matrix of {name}</h2>")
        assert re.search(rf'alt="[^"]* {re.escape(said)}"', matrix) and f'<p class="note">{said}</p>' in matrix
    filters = re.findall(r"<h2>(Filters .*?)</h2>", text)
    assert filters == [
        "Filters along time: rhythm (time, seed 0, fold 0)",
        "Filters along time and genres (time, seed 0, fold 0)",
        "Filters along time: rhythm (time_frequency, seed 0, fold 0)",
        "Filters along time and genres (time_frequency, seed 0, fold 0)",
        "Filters along frequency: spectrum (time_frequency, seed 0, fold 0)",
        "Filters along frequency and genres (time_frequency, seed 0, fold 0)",
    ]


def test_the_worst_tracks_are_shown_and_linked_where_their_audio_is(text, page, three_folds):
    worst = section(text, "Tracks most often wrong")
    assert worst.count("<tr>") == 1 + 12 and worst.count("<picture>") == 1
    assert "12 of 18 tracks were wrong for at least one of 6 models and seeds, 2 for all of them" in worst
    first = three_folds.records["fold_0"][0].track_id
    assert f"blues: {first.removeprefix('blues/')}; " in worst in worst
    assert "jazz 4\N{MULTIPLICATION SIGN}, rock 2\N{MULTIPLICATION SIGN}" in worst
    (link,) = page.all("a")
    assert link["href"].startswith("file:///") and link["href"].endswith(
        "/audio%20%26%20more/blues/fold_0%200%20%C3%A9.wav"
    )


def test_another_folder_of_audio(changed, tmp_path, three_folds, parse_page):
    audio = tmp_path / "moved" / three_folds.records["fold_1"][0].track_id
    audio.parent.mkdir(parents=True)
    audio.write_bytes(b"")
    links = parse_page(changed(only_black_box, audio_dir=str(tmp_path / "moved"))).all("a")
    assert [link["href"] for link in links] == [audio.as_uri()]


def test_a_thousand_wrong_tracks_stay_a_page(changed):
    def many(results):
        only_black_box(results)
        results["tracks_most_wrong"] = 1000 * results["tracks_most_wrong"][:1]

    text = changed(many)
    assert section(text, "Tracks most often wrong").count("<tr>") == 1 + 30
    assert len(text) < 6e6


def test_a_single_model_with_hostile_names_and_no_mistake(changed, parse_page):
    hostile = "<script>alert('1')</script> \udcff"

    def change(results):
        only_black_box(results)
        results |= {"comparisons": [], "tracks_most_wrong": [], "warnings": [hostile]}
        results["data"] |= {"name": hostile, "grouped": False}

    text = changed(change)
    page = parse_page(text)
    assert "<script" not in text and "<script>alert('1')</script> \\udcff" in page.text
    assert "Differences between models" not in text and "this very number" not in text
    assert "None: every model recognised every track." in text and "tracks (no artists were given)" in text


def test_errors_are_one_clear_line(cross_validated, tmp_path, changed):
    with pytest.raises(UserError, match=r"no results\.json, so no finished cross-validation"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match="not the results of a cross-validation"):
        write_report(tmp_path)
    with pytest.raises(UserError, match=r"is not the dataset of .*, or was written again since"):
        changed(lambda results: results["data"].update(fingerprint="0" * 64))
    with pytest.raises(UserError, match="audio_dir=nowhere"):
        write_report(cross_validated, audio_dir="nowhere")


@pytest.mark.usefixtures("no_pictures")
def test_the_same_results_give_the_same_bytes(cross_validated, tmp_path):
    copied = shutil.copytree(cross_validated, tmp_path / "cv")
    once = write_report(copied).read_text("utf-8")
    assert once.count("<h2>Filters") == 6 and write_report(copied).read_text("utf-8") == once
