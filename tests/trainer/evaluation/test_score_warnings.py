import dataclasses

import pytest

from trainer.evaluation.metrics import data_warnings, evaluation_warnings, groups_of


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
    summary = {
        "seen_in_training": False,
        "groups": "torn",
        "tracks_without_patch": 0,
        "tracks": 290,
        "new_groups": None,
    }
    return evaluation_warnings(summary | changes)


def test_artists_that_the_test_shares_with_training():
    entry = {"new_to": "training", "tracks_left_out": 14, "shared_groups": [f"artist {number}" for number in range(12)]}
    (text,) = warnings_of(new_groups=[entry]).values()
    names = ", ".join(f"artist {number}" for number in range(10))
    assert text == (
        f"14 of 290 test tracks share their artist with training ({names} and 2 more); there is a score without them"
    )
    assert warnings_of(new_groups=[]) == {}
    assert list(warnings_of()) == ["Artists"]


@pytest.mark.parametrize(("seen", "words"), [(True, "trained or validated on"), (None, "another dataset")])
def test_what_training_has_seen(seen, words):
    assert words in warnings_of(seen_in_training=seen, groups="kept_apart")["Seen in training"]


def test_tracks_left_out_are_counted():
    assert data_warnings("kept_apart", 3) == {
        "Tracks without a patch": "tracks shorter than a patch, not in the score: 3"
    }
