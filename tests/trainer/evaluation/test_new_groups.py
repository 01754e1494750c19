import numpy as np
import pytest

from trainer.evaluation.metrics import Predictions, summarize, wilson_interval
from trainer.evaluation.new_groups import scores_of_new_groups
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
    return scores_of_new_groups(predictions_of(data, **changes), data.manifest, data.path, parts)


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
    assert (in_training["new_to"], in_both["new_to"]) == ("training", "training and validation")
    assert (in_training["shared_groups"], in_both["shared_groups"]) == (["B"], ["B", "J"])
    assert (in_training["tracks_left_out"], in_both["tracks_left_out"]) == (2, 4)
    assert (in_training["tracks"], in_both["tracks"]) == (4, 2)
    assert (in_training["patches"], in_both["patches"]) == (8, 4)
    assert (in_training["track_accuracy_mean"], in_both["track_accuracy_mean"]) == (0.5, 0.5)
    assert in_training["track_accuracy_mean_interval"] == list(wilson_interval(2, 4))
    assert summarize(predictions_of(data, wrong=(jazz, rock)))["track_accuracy_mean"] == pytest.approx(4 / 6)


def test_what_would_validate_is_training_where_it_trains(make):
    data = make(lambda label, part: "J" if label == "jazz" and part != "train" else None)
    (found,) = scores(data, parts=PartChoice(("train", "valid"), (), ("test",)))
    assert (found["new_to"], found["shared_groups"], found["tracks"]) == ("training", ["J"], 4)


def test_nothing_is_shared(make):
    assert scores(make(lambda label, part: f"{label} of {part}")) == []


def test_what_only_training_and_validation_share_does_not_matter(make):
    assert scores(make(lambda label, part: "B" if part != "test" else None)) == []


def test_validation_adds_nothing(make):
    (entry,) = scores(make(lambda label, part: "B" if label == "blues" else None))
    assert (entry["new_to"], entry["tracks"]) == ("training", 4)


def test_no_track_is_left(make):
    (entry,) = scores(make(lambda label, part: "all"))
    assert entry == {"new_to": "training", "shared_groups": ["all"], "tracks_left_out": 6, "tracks": 0}
