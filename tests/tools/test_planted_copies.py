import av
import pytest

from tools import planted_copies
from tools.planted_copies import EXACT

PLANTED = {"a/copy 1.wav": ("a/1.wav", EXACT), "a/copy 2.mp3": ("a/2.wav", "MP3"), "b/copy 3.ogg": ("b/3.wav", "OGG")}


def audit(*pairs):
    found = [{"first": first, "second": second, "identical": identical} for first, second, identical in pairs]
    return {"duplicates": [{"pairs": found}]}


def test_copies_are_counted_once_and_exact_ones_only_as_such():
    pairs = [("a/1.wav", "a/copy 1.wav", False), ("a/2.wav", "a/copy 2.mp3", False)]
    found, others = planted_copies.recall(audit(*pairs), PLANTED)
    assert (found, others) == ({"a/copy 2.mp3"}, [])
    assert planted_copies.missed(found, PLANTED)
    assert not planted_copies.missed(set(PLANTED), PLANTED)


def test_pairs_of_different_originals_are_shown_once():
    pairs = [("a/copy 1.wav", "a/copy 2.mp3", False), ("a/1.wav", "a/2.wav", False), ("a/1.wav", "b/9.wav", False)]
    found, others = planted_copies.recall(audit(*pairs), PLANTED)
    assert not found
    assert [pair["second"] for pair in others] == ["a/copy 2.mp3", "b/9.wav"]


def test_copies_lie_beside_their_originals(tmp_path, make_music):
    planted = planted_copies.plant(make_music(tmp_path), copies=6, seed=1)
    assert [kind for _, kind in planted.values()].count(EXACT) == 2
    for copy, (original, kind) in planted.items():
        if kind == EXACT:
            assert (tmp_path / copy).read_bytes() == (tmp_path / original).read_bytes()
        else:
            with av.open(str(tmp_path / copy)) as file:
                assert file.duration / av.time_base < 8.1
    assert planted_copies.plant(make_music(tmp_path / "again"), copies=6, seed=1) == planted


@pytest.fixture
def make_music():
    def make(root):
        planted_copies.synthesize.synthesize_dataset(root, tracks_per_genre=1, seconds=8)
        return root

    return make


@pytest.mark.slow
def test_every_planted_copy_is_found(capsys):
    values = planted_copies.FLAGS
    values(["", "--tracks=20", "--copies=20", "--seconds=30"])
    assert planted_copies.main(values, []) == 0
    assert "100.0%" in capsys.readouterr().out
