from beam_preprocess.audit.fingerprint import Alignment
from beam_preprocess.audit.pipeline import pairs_to_draw, recordings

NEAR = Alignment(1.0, 20.0, 0.1)


def test_identical_and_matching_tracks_make_one_recording():
    contents = {0: ("a", 30.0), 1: ("b", 30.0), 2: ("a", 30.0), 4: ("c", 29.0), 5: ("d", 1.0)}
    first, second = recordings(contents, [(2, 4, NEAR), (0, 2, NEAR), (1, 5, NEAR)])
    assert first.tracks == (0, 2, 4)
    assert [(pair.first, pair.second, pair.identical) for pair in first.pairs] == [(0, 2, True), (2, 4, False)]
    assert first.pairs[0].alignment == Alignment(0.0, 30.0, 0.0)
    assert second.tracks == (1, 5)


def test_a_chain_is_one_recording_whatever_the_order():
    contents = {number: (str(number), 30.0) for number in range(6)}
    (only,) = recordings(contents, [(4, 5, NEAR), (0, 1, NEAR), (3, 4, NEAR), (1, 2, NEAR), (2, 3, NEAR)])
    assert only.tracks == (0, 1, 2, 3, 4, 5)


def test_pairs_across_parts_are_drawn_first_and_identical_ones_never():
    contents = {number: (str(number // 2 if number < 2 else number), 30.0) for number in range(6)}
    found = recordings(contents, [(2, 3, NEAR), (4, 5, NEAR)])
    parts = ["train", "test", "train", "train", "train", "test"]
    assert [pair.first for pair in pairs_to_draw(found, parts, 9)] == [4, 2]
    assert [pair.first for pair in pairs_to_draw(found, parts, 1)] == [4]
    assert pairs_to_draw(found, parts, 0) == []
