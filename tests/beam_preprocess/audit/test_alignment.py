import numpy as np
import pytest

from beam_preprocess.audit.fingerprint import BITS, FRAMES_PER_S, Alignment, align


@pytest.fixture
def words():
    return np.random.default_rng(2).integers(1, 1 << 32, 800, np.uint32)


def damaged(words, share):
    """The words with so many of their bits turned."""
    rng = np.random.default_rng(3)
    turned = rng.random((len(words), BITS)) < share
    return words ^ np.packbits(turned, axis=1, bitorder="little").view("<u4")[:, 0]


@pytest.mark.parametrize("offset", [0, 100, 400])
def test_where_the_second_begins(words, offset):
    found = align(words, damaged(words[offset:], 0.05))
    assert found.offset_s == pytest.approx(offset / FRAMES_PER_S)
    assert found.overlap_s == pytest.approx((800 - offset) / FRAMES_PER_S)
    assert found.error_rate == pytest.approx(0.05, abs=0.01)
    back = align(damaged(words[offset:], 0.05), words)
    assert back.reversed() == found


def test_no_more_errors_than_a_copy_has(words):
    few = np.arange(len(words)) % 40 == 0
    other = np.where(few, words, damaged(words, 0.4))
    assert align(words, other) is None


def test_a_short_piece_in_common_is_not_enough(words):
    other = np.random.default_rng(4).integers(1, 1 << 32, 800, np.uint32)
    assert align(words, np.concatenate([words[-int(2 * FRAMES_PER_S) :], other])) is None
    assert align(words, np.concatenate([words[-int(4 * FRAMES_PER_S) :], other])) is not None


def test_silence_is_no_common_music(words):
    silent = np.zeros(800, np.uint32)
    assert align(silent, silent) is None
    few = np.concatenate([words[:50], silent])
    assert align(few, few) is None


def test_a_loop_is_aligned_at_its_start(words):
    loop = np.tile(words[:40], 20)
    loop[:300] = words[:300]
    assert align(loop, loop) == Alignment(0, 800 / FRAMES_PER_S, 0)


def test_nothing_to_align():
    assert align(np.zeros(0, np.uint32), np.arange(1, 9, dtype=np.uint32)) is None
