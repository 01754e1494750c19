import dataclasses
import hashlib
from pathlib import Path

import pytest

from tfrecords.common.command_line import UserError
from trainer.evaluation.comparison import ExcludedTracks, leaking_groups, scored
from trainer.evaluation.entries import load_all


@pytest.fixture
def finished(tmp_path, write_cv):
    return load_all([write_cv(tmp_path / name, {"time": 0.5}) for name in ("one", "other")])


def left_out(*track_ids):
    return ExcludedTracks(frozenset(track_ids), "0" * 64)


def test_a_list_is_a_track_id_a_line(tmp_path):
    # As some editors begin a file.
    data = b"\xef\xbb\xbf" + "b é/1\n\na 2\r\na 2\n".encode() + b"\xff"
    (tmp_path / "list.txt").write_bytes(data)
    found = ExcludedTracks.read(tmp_path / "list.txt")
    assert found.track_ids == {"b é/1", "a 2", "\udcff"}
    assert found.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_list_is_refused(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(
        UserError, match=r"^--leave_out=.*list.txt must name tracks by their track_id, .*; it is empty$"
    ):
        ExcludedTracks.read(tmp_path / "list.txt")
    with pytest.raises(UserError, match=r"^--leave_out=.* cannot be read: Is a directory$"):
        ExcludedTracks.read(tmp_path)


def test_what_is_left_is_the_same_for_all(finished):
    names = finished[0].pooled.track_ids
    for each in scored(finished, left_out(names[3], names[0])):
        assert each.pooled.track_ids == (*names[1:3], *names[4:])
        assert each.pooled.probabilities.shape == (1, 1, len(names) - 2, 2)
    assert scored(finished, None)[0].pooled.track_ids == names


def test_a_track_that_is_not_there_is_refused(finished):
    name = finished[0].pooled.track_ids[0]
    message = r"^--leave_out must name tracks that give a patch; 2 of 3 are not among those predicted, the first 'x/1'$"
    with pytest.raises(UserError, match=message):
        scored(finished, left_out("x/2", name, "x/1"))


def test_groups_that_are_torn_are_found(finished):
    # Two labels' tracks 0 and 1 are by artist 0, and so on.
    assert leaking_groups(finished, left_out("0/0", "1/0", "0/1", "1/1")) == []
    assert leaking_groups(finished, left_out("0/0", "1/5", "0/5", "1/4", "0/4")) == ["artist 0"]
    # A track that one of them has no patch of is not scored.
    one, other = finished
    shorter = other.pooled.only([name for name in other.pooled.track_ids if name not in ("1/0", "0/1", "1/1")])
    assert leaking_groups([one, dataclasses.replace(other, pooled=shorter)], left_out("0/0")) == []


def test_one_must_be_left(finished):
    with pytest.raises(UserError, match=r"^no track is left to score: 16 left out, 16 in all$"):
        scored(finished, left_out(*finished[0].pooled.track_ids))


def test_a_device_in_place_of_a_list_is_refused():
    with pytest.raises(UserError, match=r"^--leave_out=/dev/null cannot be read: not a regular file$"):
        ExcludedTracks.read(Path("/dev/null"))
