import pytest

from beam_preprocess.config import SplitConfig
from beam_preprocess.inputs.labels import assign_by_folders, label_below_parts, merge_labels, part_of, warn_of_labels
from beam_preprocess.plan import plan_job
from tfrecords.common.command_line import UserError


@pytest.fixture
def warnings(make_tracks, job_config, capfd):
    """The lines logged for tracks with these paths, labelled by their folders, or for (path, label) rows."""

    def warned(*paths, source="/music", **changes):
        rows = [path if isinstance(path, tuple) else (path, path.split("/")[-2]) for path in paths]
        capfd.readouterr()
        warn_of_labels(job_config(source, "/out", **changes), make_tracks(rows))
        return capfd.readouterr().err.splitlines()

    return warned


SPELLED = ["Rock", "rock", "rock", "hip hop", "Hip Hop", "jazz", "\uff4aazz ", "pop"]


def test_spellings_of_one_label_are_warned_of_and_merged(make_tracks, warnings):
    rows = [(f"{number}.wav", label) for number, label in enumerate(SPELLED)]
    (line,) = warnings(*rows, source="x.csv")
    assert "'Rock' and 'rock'" in line
    assert "`merge_labels`" in line
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
    assert "`label_folder=top`" in line
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
        assert "`split_folders`" in line
    (line,) = warnings("rock/train/a.wav", "jazz/test/a.wav")
    assert "`label_folder=top`" in line
    (line,) = warnings(("a.wav", "train"), ("b.wav", "test"), source="x.csv")
    assert "`label_column`" in line
    used = {"split": SplitConfig(folds=None, split_folders=True)}
    assert warnings("train/rock/a.wav", "test/rock/b.wav", "test/jazz/b.wav", **used) == []
    (line,) = warnings("train/rock/x/a.wav", "train/rock/y/a.wav", "test/jazz/z/b.wav", **used)
    assert "`label_folder=top`" in line


def test_files_beside_the_folders(warnings):
    (line,) = warnings(("loose.wav", "music"), "rock/a.wav", "jazz/b.wav")
    assert "loose.wav" in line
    assert "'music'" in line
    assert "*/*" in line
    assert warnings(("loose.wav", "music"), ("b.wav", "music")) == []


def by_folder(make_tracks, *paths):
    return make_tracks([(path, path.split("/")[-2]) for path in paths])


def test_part_of_a_folder():
    named = ("train", "Training", "VAL", "validation", "dev", "test", "testing", "fold_0", "Fold 10", "fold-2", "fold3")
    assert [part_of(name) for name in named] == [
        *("train", "train", "valid", "valid", "valid", "test", "test", "fold_0", "fold_10", "fold_2", "fold_3")
    ]
    assert not any(map(part_of, ("rock", "trains", "test 2", "folder", "fold", "fold_x")))


def test_labels_are_folders_below_the_part(make_tracks):
    tracks = by_folder(make_tracks, "train/rock/album/a.wav", "test/jazz/b.wav")
    assert [track.label for track in label_below_parts(tracks, "parent")] == ["album", "jazz"]
    assert [track.label for track in label_below_parts(tracks, "top")] == ["rock", "jazz"]


@pytest.mark.parametrize("path", ["rock/a.wav", "music/rock/a.wav", "train/a.wav"])
def test_a_file_elsewhere_is_named(make_tracks, path):
    with pytest.raises(UserError, match=f"^`split_folders`: .*{path}"):
        label_below_parts(by_folder(make_tracks, "train/rock/b.wav", path), "parent")


def test_parts_by_folder(make_tracks, capfd):
    paths = ("training/r/a.wav", "Train/r/b.wav", "dev/r/a.wav", "test/j/a.wav")
    assert assign_by_folders(by_folder(make_tracks, *paths)) == ["train", "train", "valid", "test"]
    assert capfd.readouterr().err == ""
    assert assign_by_folders(by_folder(make_tracks, "train/r/a.wav", "test/r/a.wav")) == ["train", "test"]
    assert "`recipe=augmented`" in capfd.readouterr().err
    assert assign_by_folders(by_folder(make_tracks, "train/r/a.wav", "valid/r/a.wav")) == ["train", "valid"]
    assert "no folder test" in capfd.readouterr().err


def test_folds_are_counted_from_0(make_tracks, capfd):
    folds = by_folder(make_tracks, *(f"fold{number}/r/a.wav" for number in (1, 10, 2)))
    assert assign_by_folders(folds) == ["fold_0", "fold_2", "fold_1"]
    assert "fold_10 is fold_2" in capfd.readouterr().err
    assert assign_by_folders(by_folder(make_tracks, "fold_0/r/a.wav", "fold_01/r/a.wav")) == ["fold_0", "fold_1"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("paths", [("train/r/a.wav", "Train/r/b.wav"), ("train/r/a.wav", "fold1/r/a.wav")])
def test_folders_that_are_no_split(make_tracks, paths):
    with pytest.raises(UserError, match=r"^`split_folders`: "):
        assign_by_folders(by_folder(make_tracks, *paths))


def test_a_plan_by_folders(make_tracks, job_config, capfd):
    config = job_config("/in", "/out", split=SplitConfig(folds=None, split_folders=True))
    names = ("x", "y", "y_part1")
    tracks = by_folder(
        make_tracks, *(f"{p}/{g}/{n}.wav" for p in ("train", "val", "test") for g in "rj" for n in names)
    )
    plan = plan_job(config, tracks)
    assert plan.parts == ("train", "valid", "test")
    assert plan.labels == ("j", "r")
    assert plan.split["method"] == "folders"
    # y and its piece are in all three.
    assert (plan.split["grouped"], plan.split["group_safe"]) == (True, False)
    assert "more than one part" in capfd.readouterr().err


@pytest.mark.parametrize("other", [{"train_size": 0.8}, {"split_lists": "lists"}])
def test_other_splits_are_excluded(job_config, other):
    with pytest.raises(UserError, match="`split_folders` excludes"):
        SplitConfig(folds=None, split_folders=True, **other)
    with pytest.raises(UserError, match=r"`split_folders` is for folders"):
        job_config("x.csv", "/out", split=SplitConfig(split_folders=True))
