import pytest

from beam_preprocess.audio.front_end import segment_lengths


@pytest.mark.parametrize(("frames", "pieces"), [(1, 1), (8192, 1), (8193, 2), (16384, 2), (100_000, 13)])
def test_pieces_are_equal(frames, pieces):
    lengths = segment_lengths(frames)
    assert len(lengths) == pieces
    assert sum(lengths) == frames
    assert max(lengths) <= 8192
    assert max(lengths) - min(lengths) <= 1
