from collections import Counter

import pytest

from beam_preprocess.tracks import Track
from tfrecords.command_line import UserError
from tools.ablation_split import split_lists

TRACKS = [
    Track(f"{genre}/{artist}.{number}.wav", "", genre, f"{genre} {artist}", None)
    for genre in ("pop", "rock")
    for artist in range(12)
    for number in range(1 + artist % 3)
]
DEVELOPMENT = [track.track_id for track in TRACKS if int(track.group.split()[1]) < 4]


def test_parts_share_no_track_and_leave_none_out():
    lists = split_lists(TRACKS, DEVELOPMENT)
    assert list(lists) == ["train", "valid", "test"]
    assert lists["test"] == sorted(DEVELOPMENT)
    assert sorted(name for names in lists.values() for name in names) == sorted(track.track_id for track in TRACKS)


def test_no_artist_is_torn_and_a_fifth_of_each_genre_validates():
    lists = split_lists(TRACKS, DEVELOPMENT)
    groups = {part: {track.group for track in TRACKS if track.track_id in names} for part, names in lists.items()}
    assert not (
        groups["train"] & groups["valid"] or groups["train"] & groups["test"] or groups["valid"] & groups["test"]
    )
    genres = {part: Counter(name.partition("/")[0] for name in names) for part, names in lists.items()}
    for genre in ("pop", "rock"):
        share = genres["valid"][genre] / (genres["valid"][genre] + genres["train"][genre])
        assert 0.1 <= share <= 0.3


def test_the_split_does_not_depend_on_the_order_of_the_list():
    assert split_lists(TRACKS, DEVELOPMENT) == split_lists(TRACKS, DEVELOPMENT[::-1])


def test_a_development_track_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"--development lists 'pop/none\.wav', which is not among"):
        split_lists(TRACKS, [*DEVELOPMENT, "pop/none.wav"])


def test_a_development_list_that_tears_an_artist_is_refused():
    with pytest.raises(UserError, match="--development must list all tracks of 'pop 5' or none"):
        split_lists(TRACKS, [*DEVELOPMENT, "pop/5.0.wav"])
