import numpy as np
import pytest

from beam_preprocess.audio import front_end
from beam_preprocess.audio.front_end import segment_lengths
from trainer.serving import served_model
from trainer.serving.recognizer import patch_starts


def test_patches_follow_each_other_and_the_tail_is_left_out():
    np.testing.assert_array_equal(patch_starts(79, 80), [])
    np.testing.assert_array_equal(patch_starts(80, 80), [0])
    np.testing.assert_array_equal(patch_starts(319, 80), [0, 80, 160])


def test_patches_of_a_long_recording_lie_in_its_records(monkeypatch):
    monkeypatch.setattr(front_end, "MAX_RECORD_FRAMES", 100)
    # 259 frames are records of 87, 86 and 86.
    assert segment_lengths(259) == [87, 86, 86]
    np.testing.assert_array_equal(patch_starts(259, 40), [0, 40, 87, 127, 173, 213])
    assert not len(patch_starts(259, 90))


@pytest.mark.parametrize("frames", [1, 79, 80, 319, 8192, 8193, 20_000])
def test_the_graph_cuts_the_same_patches(frames):
    np.testing.assert_array_equal(served_model.patch_starts(frames, 80), patch_starts(frames, 80))
