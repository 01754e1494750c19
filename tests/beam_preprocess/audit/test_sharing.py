import numpy as np
import pytest

from beam_preprocess.audit import fingerprint
from beam_preprocess.audit.fingerprint import MIN_SHARED, NEIGHBOURS


def found(fingerprints, partitions=8):
    """The candidates among fingerprints, through both groupings, as Beam would do them."""
    entries = [fingerprint.entries(track, words) for track, words in enumerate(fingerprints)]
    by_hash = grouped(fingerprint.deal_entries(np.concatenate(entries), partitions))
    pairs = [fingerprint.deal_pairs(fingerprint.sharing_pairs(blocks), partitions) for blocks in by_hash]
    by_pair = grouped(item for dealt in pairs for item in dealt)
    return sorted(pair for blocks in by_pair for pair in fingerprint.candidates(blocks))


def grouped(items):
    groups = {}
    for key, block in items:
        groups.setdefault(key, []).append(block)
    return groups.values()


@pytest.fixture
def words():
    """[10, 400] words, all different."""
    return np.random.default_rng(1).choice(1 << 32, (10, 400), replace=False).astype(np.uint32)


@pytest.mark.parametrize("partitions", [1, 8])
def test_tracks_that_share_words_are_found(words, partitions):
    words[7, 100:150] = words[2, 200:250]
    assert found(words, partitions) == [(2, 7)]


@pytest.mark.parametrize(("shared", "pairs"), [(MIN_SHARED - 1, []), (MIN_SHARED, [(2, 7)])])
def test_words_shared_by_chance_are_too_few(words, shared, pairs):
    hashed = [word for word in words[2] if len(fingerprint.entries(0, np.array([word])))]
    words[7, :shared] = hashed[:shared]
    assert found(words) == pairs


def test_a_word_that_comes_again_counts_once(words):
    words[2, :50] = words[7, :50] = words[0, 0]
    assert found(words) == []


def test_silence_is_not_shared(words):
    words[:, :200] = 0
    assert found(words) == []


def test_a_bucket_of_any_size_gives_few_pairs():
    tracks = 3000
    entries = np.zeros(tracks, fingerprint.ENTRY)
    entries["hash"], entries["track"] = 5, np.arange(tracks)[::-1]
    pairs = fingerprint.sharing_pairs([entries.tobytes()])
    assert NEIGHBOURS * (tracks - NEIGHBOURS) <= len(pairs) <= NEIGHBOURS * tracks
    assert (pairs["second"] - pairs["first"]).max() == NEIGHBOURS


def test_copies_beyond_the_cap_are_linked_by_those_between(words):
    pairs = found([words[0]] * 30)
    assert {first for first, _ in pairs} == set(range(29))
    assert (0, 1) in pairs
    assert (0, NEIGHBOURS) in pairs
    assert (0, NEIGHBOURS + 1) not in pairs


def test_elements_are_small(monkeypatch, words):
    monkeypatch.setattr(fingerprint, "_BLOCK", 16)
    dealt = list(fingerprint.deal_entries(fingerprint.entries(0, words.ravel()), 2))
    assert {partition for partition, _ in dealt} == {0, 1}
    assert max(len(block) for _, block in dealt) == 16 * fingerprint.ENTRY.itemsize
    assert sum(len(block) for _, block in dealt) > 1000 * fingerprint.ENTRY.itemsize


def test_partitions_grow_with_the_tracks():
    assert [fingerprint.num_partitions(tracks) for tracks in (1, 9000, 1_000_000)] == [8, 9, 1000]
