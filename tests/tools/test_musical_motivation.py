import numpy as np
import pytest

from beam_preprocess.audio.front_end import FrontEnd, FrontEndConfig
from tfrecords.common.command_line import UserError
from tools import musical_motivation
from tools.musical_motivation import SETS, play, verdict


def values_of(*arguments):
    values = musical_motivation.FLAGS
    values(["", *map(str, arguments)])
    return values


def results(difference, low, high, one="time"):
    other = {"time": "frequency", "frequency": "time"}[one]
    return {
        "models": {"time": {"pooled": {"track_accuracy": 0.9}}, "frequency": {"pooled": {"track_accuracy": 0.3}}},
        "comparisons": [{"one": one, "other": other, "difference": difference, "interval": [low, high]}],
    }


@pytest.fixture(scope="module")
def frames():
    """Genre -> log-mel frames [frames, bands] of some tracks, each with a whole number of beats of every tempo."""
    front_end = FrontEnd(FrontEndConfig())

    def make(genre, seconds=120 * 0.075):
        tracks = [play(genre, seconds, np.random.default_rng(seed)).astype(np.float32) for seed in range(6)]
        assert all(0.05 < np.abs(track).max() < 1 for track in tracks)
        return np.concatenate([front_end(track) for track in tracks])

    return {genre: make(genre) for genres in SETS.values() for genre in genres}


def test_no_single_frame_tells_the_tempo(frames):
    by_tempo = [frames[genre] for genre in SETS["tempo"]]
    for statistic in (np.mean, np.std, np.median):
        assert np.ptp([statistic(own, axis=0) for own in by_tempo], axis=0).max() < 0.02


def test_each_band_is_loud_in_one_spectrum_and_no_course_over_time_tells_which(frames):
    loud = [np.argsort(frames[genre].mean(0))[-10:] for genre in SETS["spectrum"]]
    assert sorted(np.concatenate(loud)) == list(range(40))
    courses = [frames[genre][:, bands].mean(1) for genre, bands in zip(SETS["spectrum"], loud, strict=True)]
    assert np.ptp([course.mean() for course in courses]) < 0.03
    assert np.corrcoef(courses).min() > 0.99


@pytest.mark.parametrize(("low", "holds"), [(0.5, True), (0.24, False)])
def test_the_lower_end_of_the_lead_counts_whichever_way_round_the_pair_was_compared(low, holds):
    expected = (["time 90.0%", "frequency 30.0%", "+60.0", f"{100 * low:+.1f} to +70.0"], holds)
    for pair in (results(0.6, low, 0.7), results(-0.6, -0.7, -low, one="frequency")):
        row, wins = verdict(pair, "time", "frequency")
        assert (row[:4], wins) == expected
    assert not verdict(results(0.6, 0.5, 0.7), "frequency", "time")[1]


def test_an_output_that_is_taken_is_left_alone(tmp_path):
    (tmp_path / "kept").write_text("")
    with pytest.raises(UserError, match="must be an empty directory, or not be there yet"):
        musical_motivation.main(values_of(f"--output={tmp_path}"), [])
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.slow
def test_the_thesis_holds_on_a_small_run(tmp_path, capsys):
    values = values_of(f"--output={tmp_path}/out", "--tracks_per_genre=16", "--seconds=10", "--epochs=15")
    assert musical_motivation.main(values, []) == 0
    assert capsys.readouterr().out.count(" holds") == 2
