import pytest

from beam_preprocess.config import SplitConfig
from beam_preprocess.inputs.labels import merge_labels, warn_of_labels


@pytest.fixture
def warnings(make_tracks, job_config, capfd):
    """The lines that are said of tracks with these paths, labelled by their folders, or (path, label) rows."""

    def warned(*paths, source="/music", **changes):
        rows = [path if isinstance(path, tuple) else (path, path.split("/")[-2]) for path in paths]
        capfd.readouterr()
        warn_of_labels(job_config(source, "/out", **changes), make_tracks(rows))
        return capfd.readouterr().err.splitlines()

    return warned


SPELLED = ["Rock", "rock", "rock", "hip hop", "Hip Hop", "jazz", "\uff4aazz ", "pop"]


def test_spellings_of_one_label_are_told_and_made_one(make_tracks, warnings):
    rows = [(f"{number}.wav", label) for number, label in enumerate(SPELLED)]
    (line,) = warnings(*rows, source="x.csv")
    assert "'Rock' and 'rock'" in line
    assert "--merge_labels" in line
    assert "pop" not in line
    tracks, merged = merge_labels(make_tracks(rows))
    # The most frequent, else the first in sort order.
    assert [track.label for track in tracks] == [*["rock"] * 3, *["Hip Hop"] * 2, *["jazz"] * 2, "pop"]
    assert merged == {"rock": ["Rock", "rock"], "Hip Hop": ["Hip Hop", "hip hop"], "jazz": ["jazz", "\uff4aazz "]}
    assert merge_labels(tracks) == (tracks, {})


def test_ordinary_sets_are_not_warned_of(warnings):
    assert warnings("rock/a.wav", "jazz/b.wav") == []
    assert warnings("genres/rock/a.wav", "genres/jazz/b.wav") == []
    assert warnings("rock/x/a.wav", "jazz/y/b.wav") == []
    assert warnings(("rock/x/a.wav", "rock"), ("rock/z/a.wav", "rock"), ("j/y/b.wav", "j"), label_folder="top") == []
    assert warnings(("1.wav", "1"), ("a/b/2.wav", "2"), ("test/3.wav", "3"), source="x.csv") == []


def test_albums_below_genres(warnings):
    (line,) = warnings("rock/a/1.wav", "rock/b/1.wav", "jazz/c/1.wav", "jazz/2.wav")
    assert "--label_folder=top" in line
    assert "jazz, rock" in line


def test_folders_that_are_numbers(warnings):
    (line,) = warnings("000/000002.mp3", "001/001002.mp3", "rock/a.mp3")
    assert "numbers" in line
    assert ".csv" in line
    assert warnings("80/a.mp3", "rock/a.mp3", "jazz/a.mp3") == []


def test_parts_of_a_split_as_folders_or_labels(warnings):
    for paths in (
        ("train/rock/a.wav", "Test/rock/b.wav"),
        ("fold1/a.wav", "fold2/b.wav"),
        ("training/a.wav", "x/b.wav"),
    ):
        (line,) = warnings(*paths)
        assert "--split_folders" in line
    (line,) = warnings("rock/train/a.wav", "jazz/test/a.wav")
    assert "--label_folder=top" in line
    (line,) = warnings(("a.wav", "train"), ("b.wav", "test"), source="x.csv")
    assert "--label_column" in line
    used = {"split": SplitConfig(folds=None, split_folders=True)}
    assert warnings("train/rock/a.wav", "test/rock/b.wav", "test/jazz/b.wav", **used) == []
    (line,) = warnings("train/rock/x/a.wav", "train/rock/y/a.wav", "test/jazz/z/b.wav", **used)
    assert "--label_folder=top" in line


def test_files_beside_the_folders(warnings):
    (line,) = warnings(("loose.wav", "music"), "rock/a.wav", "jazz/b.wav")
    assert "loose.wav" in line
    assert "'music'" in line
    assert "*/*" in line
    assert warnings(("loose.wav", "music"), ("b.wav", "music")) == []
