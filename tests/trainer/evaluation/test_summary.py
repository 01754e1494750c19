import dataclasses

import numpy as np
import pytest

from trainer.evaluation import intervals
from trainer.evaluation.metrics import Predictions, summarize
from trainer.evaluation.summary import NewGroups, Summary, data_warnings, groups_of, read_groups, score_new_groups
from trainer.training_job import PartChoice

PARTS = PartChoice(("train",), ("valid",), ("test",))


def predictions_of(data, wrong=()):
    """One patch a record, right unless its track is among the wrong ones."""
    records = data.records["test"]
    labels = np.array([record.label for record in records], np.int32)
    guesses = [(label + (record.track_id in wrong)) % 3 for label, record in zip(labels, records, strict=True)]
    ids = [record.track_id for record in records]
    return Predictions(np.eye(3, dtype=np.float32)[guesses], labels, ids, data.manifest.labels)


def scores(data, *, parts=PARTS, **changes):
    groups = read_groups(data.manifest, data.path, parts.test)
    return score_new_groups(predictions_of(data, **changes), groups, data.manifest, data.path, parts)


@pytest.fixture
def make(write_dataset, tmp_path):
    """A dataset whose tracks are by the artists that a function of label and part names."""

    def write(artist):
        def group_of(track_id):
            label, _, name = track_id.partition("/")
            return artist(label, name.split()[0]) or track_id

        return write_dataset(tmp_path / "data", group_of=group_of, segments=2)

    return write


def test_tracks_of_artists_in_training_and_in_validation_are_left_out(make):
    def artist(label, part):
        # Blues: in training and test. Jazz: in validation and test. Rock: by one artist a track.
        return {"blues": "B" if part != "valid" else None, "jazz": "J" if part != "train" else None}.get(label)

    data = make(artist)
    jazz, rock = (next(r.track_id for r in data.records["test"] if r.label == label) for label in (1, 2))
    in_training, in_both = scores(data, wrong=(jazz, rock))
    assert (in_training.new_to, in_both.new_to) == ("training", "training and validation")
    assert (in_training.shared_groups, in_both.shared_groups) == (["B"], ["B", "J"])
    assert (in_training.tracks_left_out, in_both.tracks_left_out) == (2, 4)
    assert (in_training.scores.tracks, in_both.scores.tracks) == (4, 2)
    assert (in_training.scores.patches, in_both.scores.patches) == (8, 4)
    assert (in_training.scores.track_accuracy_mean, in_both.scores.track_accuracy_mean) == (0.5, 0.5)
    # Jazz's two tracks are by one artist, rock's by one each, and one of each label is right.
    assert in_training.scores.track_accuracy_mean_interval == intervals.wilson_interval(0.5 * 3, 3)
    assert summarize(predictions_of(data, wrong=(jazz, rock))).track_accuracy_mean == pytest.approx(4 / 6)


def test_what_would_validate_is_training_where_it_trains(make):
    data = make(lambda label, part: "J" if label == "jazz" and part != "train" else None)
    (found,) = scores(data, parts=PartChoice(("train", "valid"), (), ("test",)))
    assert (found.new_to, found.shared_groups, found.scores.tracks) == ("training", ["J"], 4)


def test_nothing_is_shared(make):
    assert scores(make(lambda label, part: f"{label} of {part}")) == ()


def test_what_only_training_and_validation_share_does_not_matter(make):
    assert scores(make(lambda label, part: "B" if part != "test" else None)) == ()


def test_validation_adds_nothing(make):
    (entry,) = scores(make(lambda label, part: "B" if label == "blues" else None))
    assert (entry.new_to, entry.scores.tracks) == ("training", 4)


def test_no_track_is_left(make):
    (entry,) = scores(make(lambda label, part: "all"))
    assert entry == NewGroups("training", ["all"], 6, None)
    assert entry.to_json() == {"new_to": "training", "shared_groups": ["all"], "tracks_left_out": 6, "tracks": 0}


@pytest.mark.parametrize(
    ("split", "groups", "words"),
    [
        ({"grouped": True, "group_safe": True}, "kept_apart", None),
        ({"grouped": False, "group_safe": True}, "not_given", "no artists were given"),
        ({"grouped": True, "group_safe": False}, "torn", "some artists are in both"),
        ({"grouped": False, "group_safe": False}, "torn", "some artists are in both"),
    ],
)
def test_what_the_split_did_about_groups(tiny, split, groups, words):
    found = groups_of(dataclasses.replace(tiny.manifest, split=split))
    assert found == groups
    warnings = data_warnings(found, 0)
    assert list(warnings) == ([] if words is None else ["Artists"])
    assert words is None or words in warnings["Artists"]


def warnings_of(**changes):
    labels = np.arange(290, dtype=np.int32) % 2
    predictions = Predictions(np.eye(2, dtype=np.float32)[labels], labels, list(map(str, range(290))), ("a", "b"))
    fields = {"seen_in_training": False, "groups": "torn", "tracks_without_patch": 0, "new_groups": None}
    made = {"data_dir": "DATA", "parts": ("test",), "model": "time", "recipe": "modern", "seed": 0}
    return Summary(scores=summarize(predictions), **made, **(fields | changes)).warnings()


def test_artists_that_the_test_shares_with_training():
    entry = NewGroups("training", [f"artist {number}" for number in range(12)], 14, None)
    (text,) = warnings_of(new_groups=(entry,)).values()
    names = ", ".join(f"artist {number}" for number in range(10))
    assert text == (
        f"14 of 290 test tracks share their artist with training ({names} and 2 more); there is a score without them"
    )
    assert warnings_of(new_groups=()) == {}
    assert list(warnings_of()) == ["Artists"]


@pytest.mark.parametrize(("seen", "words"), [(True, "trained or validated on"), (None, "another dataset")])
def test_what_training_has_seen(seen, words):
    assert words in warnings_of(seen_in_training=seen, groups="kept_apart")["Seen in training"]


def test_tracks_left_out_are_counted():
    assert data_warnings("kept_apart", 3) == {
        "Tracks without a patch": "tracks shorter than a patch, not in the score: 3"
    }
