import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_preprocess.audit import fingerprint
from beam_preprocess.audit.fingerprint import (
    BITS,
    FRAMES_PER_S,
    MIN_SHARED,
    NEIGHBOURS,
    NO_WORD,
    RATE_HZ,
    Alignment,
    Fingerprinter,
    align,
)

FINGERPRINT = Fingerprinter()


@pytest.fixture(scope="module")
def sound(music):
    return music("rock")


@pytest.fixture(scope="module")
def sound_words(sound):
    return FINGERPRINT([sound])


def error_rate(words, others):
    count = min(len(words), len(others))
    return np.bitwise_count(words[:count] ^ others[:count]).mean() / BITS


@settings(max_examples=10, deadline=None)
@given(gain=st.floats(0.01, 20))
def test_gain_changes_no_more_than_bits_that_rounding_decides(sound, sound_words, gain):
    assert error_rate(sound_words, FINGERPRINT([np.float32(gain) * sound])) < 1e-3


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 12 * RATE_HZ), max_size=6))
def test_the_same_however_it_is_cut(sound, sound_words, cuts):
    np.testing.assert_array_equal(FINGERPRINT(np.split(sound, sorted(cuts))), sound_words)


def test_half_a_frame_step_aside_it_is_still_the_same_recording(sound, sound_words):
    assert error_rate(sound_words, FINGERPRINT([sound[384:]])) < 0.15


def test_other_music_is_at_chance(sound_words, music):
    assert error_rate(sound_words, FINGERPRINT([music("blues")])) > 0.4


def test_what_sounds_above_the_bands_is_not_mirrored_into_them(sound, sound_words):
    noise = np.random.default_rng(0).normal(0, 1, len(sound))
    above = scipy.signal.sosfilt(scipy.signal.butter(12, 4000, "highpass", fs=RATE_HZ, output="sos"), noise)
    hiss = (sound.std() * above).astype(np.float32)
    assert error_rate(sound_words, FINGERPRINT([sound + hiss])) < 0.05


def test_one_word_a_frame_and_none_for_silence(sound):
    words = FINGERPRINT([sound, np.zeros(RATE_HZ * 4, np.float32)])
    assert words.dtype == np.uint32
    assert len(words) == 1 + (len(sound) + 4 * RATE_HZ) // 768 - 9
    silent = words == NO_WORD
    assert silent[-int(3 * FRAMES_PER_S) :].all()
    assert silent[: int(12 * FRAMES_PER_S) - 12].mean() < 0.1


@pytest.mark.parametrize("samples", [0, 1, 40, 8 * 768, 9 * 768 - 1, 9 * 768, 10 * 768, 128 * 768 + 63, 128 * 768 + 64])
def test_what_is_shorter_than_ten_frames_has_no_words(samples):
    assert len(FINGERPRINT([np.ones(samples, np.float32)])) == max(0, 1 + samples // 768 - 9)


@pytest.fixture
def frames():
    return np.random.default_rng(2).integers(1, 1 << 32, 800, np.uint32)


def damaged(frames, share):
    """Words with this share of their bits flipped."""
    rng = np.random.default_rng(3)
    turned = rng.random((len(frames), BITS)) < share
    return frames ^ np.packbits(turned, axis=1, bitorder="little").view("<u4")[:, 0]


@pytest.mark.parametrize("offset", [0, 100, 400])
def test_where_the_second_begins(frames, offset):
    found = align(frames, damaged(frames[offset:], 0.05))
    assert found.offset_s == pytest.approx(offset / FRAMES_PER_S)
    assert found.overlap_s == pytest.approx((800 - offset) / FRAMES_PER_S)
    assert found.error_rate == pytest.approx(0.05, abs=0.01)
    back = align(damaged(frames[offset:], 0.05), frames)
    assert back.reversed() == found


def test_no_more_errors_than_a_copy_has(frames):
    few = np.arange(len(frames)) % 40 == 0
    other = np.where(few, frames, damaged(frames, 0.4))
    assert align(frames, other) is None


def test_a_short_piece_in_common_is_not_enough(frames):
    other = np.random.default_rng(4).integers(1, 1 << 32, 800, np.uint32)
    assert align(frames, np.concatenate([frames[-int(2 * FRAMES_PER_S) :], other])) is None
    assert align(frames, np.concatenate([frames[-int(4 * FRAMES_PER_S) :], other])) is not None


def test_silence_is_no_common_music(frames):
    silent = np.zeros(800, np.uint32)
    assert align(silent, silent) is None
    few = np.concatenate([frames[:50], silent])
    assert align(few, few) is None


def test_a_loop_is_aligned_at_its_start(frames):
    loop = np.tile(frames[:40], 20)
    loop[:300] = frames[:300]
    assert align(loop, loop) == Alignment(0, 800 / FRAMES_PER_S, 0)


def test_nothing_to_align():
    assert align(np.zeros(0, np.uint32), np.arange(1, 9, dtype=np.uint32)) is None


def candidates_of(fingerprints, partitions=8):
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
def test_tracks_that_share_words_are_candidates_of(words, partitions):
    words[7, 100:150] = words[2, 200:250]
    assert candidates_of(words, partitions) == [(2, 7)]


@pytest.mark.parametrize(("shared", "pairs"), [(MIN_SHARED - 1, []), (MIN_SHARED, [(2, 7)])])
def test_words_shared_by_chance_are_too_few(words, shared, pairs):
    hashed = [word for word in words[2] if len(fingerprint.entries(0, np.array([word])))]
    words[7, :shared] = hashed[:shared]
    assert candidates_of(words) == pairs


def test_a_word_that_comes_again_counts_once(words):
    words[2, :50] = words[7, :50] = words[0, 0]
    assert candidates_of(words) == []


def test_silence_is_not_shared(words):
    words[:, :200] = 0
    assert candidates_of(words) == []


def test_a_bucket_of_any_size_gives_few_pairs():
    tracks = 3000
    entries = np.zeros(tracks, fingerprint.ENTRY)
    entries["hash"], entries["track"] = 5, np.arange(tracks)[::-1]
    pairs = fingerprint.sharing_pairs([entries.tobytes()])
    assert NEIGHBOURS * (tracks - NEIGHBOURS) <= len(pairs) <= NEIGHBOURS * tracks
    assert (pairs["second"] - pairs["first"]).max() == NEIGHBOURS


def test_copies_beyond_the_cap_are_linked_by_those_between(words):
    pairs = candidates_of([words[0]] * 30)
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
