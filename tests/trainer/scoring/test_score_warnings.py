import dataclasses

import pytest

from trainer.scoring.score_warnings import data_warnings, groups_of


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


def test_tracks_left_out_are_counted():
    assert data_warnings("kept_apart", 3) == {
        "Tracks without a patch": "tracks shorter than a patch, not in the score: 3"
    }
