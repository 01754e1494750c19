import csv
import json
from collections import Counter

import pytest

from tfrecords import command_line
from tfrecords.command_line import UserError
from tools import musical_motivation
from tools.musical_motivation import Score, at_chance, contrasts, markdown, scores_of, write_shuffled


def results(*, time, frequency, tracks=100, low=0.0, high=0.0, pair=("time", "frequency")):
    """What a cross-validation's results.json holds of two models; low and high are of the pair's difference."""
    accuracies = {"time": time, "frequency": frequency}
    return {
        "data": {"tracks": tracks, "chance": 0.25},
        "models": {model: {"pooled": {"track_accuracy": accuracy}} for model, accuracy in accuracies.items()},
        "comparisons": [
            {
                "one": pair[0],
                "other": pair[1],
                "difference": accuracies[pair[0]] - accuracies[pair[1]],
                "interval": [low, high],
            }
        ],
    }


def values_of(*arguments):
    values = musical_motivation.FLAGS
    values(["", *map(str, arguments)])
    return values


def test_a_score_counts_tracks():
    one, other = scores_of({"tempo": results(time=0.9, frequency=0.29)})
    assert (one.set, one.model, one.right, one.tracks, one.chance) == ("tempo", "time", 90, 100, 0.25)
    assert (other.model, other.right) == ("frequency", 29)
    low, high = one.interval
    assert low < one.accuracy == 0.9 < high


def test_the_thesis_holds_when_each_wins_on_its_own_axis():
    found = {
        "tempo": results(time=0.9, frequency=0.3, low=0.5, high=0.7),
        "spectrum": results(time=0.3, frequency=0.9, low=-0.7, high=-0.5),
    }
    tempo, spectrum = contrasts(found, 0.25)
    assert (tempo.holds, spectrum.holds) == (True, True)
    assert tempo.text == "tempo: time - frequency = +60.0 points [+50.0, +70.0], to be at least +25.0"
    assert spectrum.text == "spectrum: frequency - time = +60.0 points [+50.0, +70.0], to be at least +25.0"


def test_the_order_in_which_a_pair_was_compared_does_not_matter():
    turned = results(time=0.9, frequency=0.3, low=-0.7, high=-0.5, pair=("frequency", "time"))
    straight = results(time=0.9, frequency=0.3, low=0.5, high=0.7)
    spectrum = results(time=0.3, frequency=0.9, low=-0.7, high=-0.5)
    assert contrasts({"tempo": turned, "spectrum": spectrum}, 0.25) == contrasts(
        {"tempo": straight, "spectrum": spectrum}, 0.25
    )


@pytest.mark.parametrize(
    ("time", "frequency", "low", "high"),
    [(0.9, 0.3, 0.24, 0.9), (0.5, 0.4, 0.0, 0.2), (0.3, 0.9, -0.7, -0.5)],
    ids=["interval reaches below the margin", "narrow", "the wrong way round"],
)
def test_the_thesis_fails_below_the_margin(time, frequency, low, high):
    good = results(time=0.3, frequency=0.9, low=-0.7, high=-0.5)
    tempo, spectrum = contrasts(
        {"tempo": results(time=time, frequency=frequency, low=low, high=high), "spectrum": good}, 0.25
    )
    assert (tempo.holds, spectrum.holds) == (False, True)


@pytest.mark.parametrize(("right", "holds"), [(0.25, True), (0.35, True), (0.39, False), (0.13, False)])
def test_shuffled_labels_must_be_at_chance(right, holds):
    time, frequency = at_chance({"shuffled": results(time=right, frequency=0.25)})
    assert (time.holds, frequency.holds) == (holds, True)


def test_markdown_states_scores_and_verdict():
    scores = [Score("tempo", "time", 90, 100, 0.25)]
    held = markdown(scores, contrasts_of(low=0.5, high=0.7))
    assert "| tempo | time | 90.0 | 82.6 - 94.5 | 100 | 25.0 |" in held
    assert held.count("- holds: ") == 2
    assert held.endswith("\nThe thesis held.\n")
    failed = markdown(scores, contrasts_of(low=0.1, high=0.7))
    assert "- DOES NOT HOLD: tempo" in failed
    assert failed.endswith("\nThe thesis did not hold, or the score cannot be trusted.\n")


def contrasts_of(**interval):
    spectrum = results(time=0.3, frequency=0.9, low=-0.7, high=-0.5)
    return contrasts({"tempo": results(time=0.9, frequency=0.3, **interval), "spectrum": spectrum}, 0.25)


def test_shuffled_labels_are_the_same_ones_dealt_to_other_tracks(tmp_path):
    paths = [tmp_path / "audio" / genre / f"{genre}.{index:05d}.wav" for genre in "abcd" for index in range(8)]
    write_shuffled(paths, tmp_path / "one.csv", seed=0)
    with (tmp_path / "one.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [tmp_path / row["path"] for row in rows] == paths
    assert Counter(row["genre"] for row in rows) == dict.fromkeys("abcd", 8)
    assert sum(row["genre"] == path.parent.name for row, path in zip(rows, paths, strict=True)) < 16
    write_shuffled(paths, tmp_path / "again.csv", seed=0)
    write_shuffled(paths, tmp_path / "other.csv", seed=1)
    contents = [(tmp_path / f"{name}.csv").read_bytes() for name in ("one", "again", "other")]
    assert contents[0] == contents[1] != contents[2]


@pytest.fixture
def without_trainings(monkeypatch):
    """Cross-validations that find what the thesis says, by set, without training; a test may change them."""
    found = {
        "tempo": results(time=1.0, frequency=0.25, low=0.6, high=0.8),
        "spectrum": results(time=0.25, frequency=1.0, low=-0.8, high=-0.6),
        "shuffled": results(time=0.25, frequency=0.25),
    }
    monkeypatch.setattr(musical_motivation, "_cross_validate", lambda values, source, folder, name: found[name])
    return found


@pytest.mark.parametrize("shuffled", [0.25, 0.6])
def test_the_exit_status_and_the_files_say_whether_it_held(tmp_path, capsys, without_trainings, shuffled):
    without_trainings["shuffled"] = results(time=shuffled, frequency=0.25)
    values = values_of(f"--output={tmp_path}/out", "--tracks_per_genre=4", "--seconds=3")
    assert musical_motivation.main(values, []) == (0 if shuffled == 0.25 else 1)
    written = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    assert written["holds"] is (shuffled == 0.25)
    assert [finding["holds"] for finding in written["findings"]] == [True, True, shuffled == 0.25, True]
    assert len(written["scores"]) == 6
    assert (tmp_path / "out" / "results.md").read_text("utf-8") in capsys.readouterr().out


@pytest.mark.parametrize("taken", ["a file", "a directory that holds something"])
def test_an_output_that_is_taken_is_left_alone(tmp_path, without_trainings, taken):
    output = tmp_path / "out"
    kept = output if taken == "a file" else output / "kept"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("")
    with pytest.raises(UserError, match="must be an empty directory, or not be there yet"):
        musical_motivation.main(values_of(f"--output={output}"), [])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]


def test_a_command_that_fails_is_one_clear_line_after_what_it_said(tmp_path, monkeypatch, capfd):
    sources = {"tempo": tmp_path / "nowhere"}
    monkeypatch.setattr(musical_motivation, "_make_sources", lambda values, output: sources)
    with pytest.raises(SystemExit) as ended:
        command_line.run(
            musical_motivation.main, musical_motivation.FLAGS, usage="", argv=["tool", f"--output={tmp_path}/out"]
        )
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert "nowhere" in said and "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: python -m beam_preprocess --input=")
    assert said.endswith(" failed (2); what it said is above\n")


@pytest.mark.slow
def test_the_thesis_holds_on_a_small_run(tmp_path, capsys):
    values = values_of(f"--output={tmp_path}/out", "--tracks_per_genre=16", "--seconds=10", "--epochs=15")
    assert musical_motivation.main(values, []) == 0
    assert "The thesis held." in capsys.readouterr().out
