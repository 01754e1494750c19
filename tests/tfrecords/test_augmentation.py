import subprocess
import sys
from pathlib import Path

import pytest

from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError

ROOT = Path(__file__).parents[2]


def test_nothing_is_on_unless_asked_for():
    off = Augmentation()
    assert (off.gain_db, off.equalizer_db, off.mixup_alpha, off.frequency_masks, off.time_masks) == (0, 0, 0, 0, 0)
    assert not off.soft_labels
    assert Augmentation(mixup_alpha=0.2).soft_labels
    assert Augmentation.parse("") == off


def test_settings_are_parsed():
    found = Augmentation.parse("frequency_masks=2, time_mask_frames=30,time_masks=1,gain_db=6,mixup_alpha=.2,")
    assert found == Augmentation(gain_db=6.0, mixup_alpha=0.2, frequency_masks=2, time_masks=1, time_mask_frames=30)
    assert [type(value) for value in (found.gain_db, found.time_masks)] == [float, int]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("masks=2", "no augmentation is called 'masks'; there are gain_db, equalizer_db, mixup_alpha,"),
        ("=2", "no augmentation is called ''; there are"),
        ("time_masks=1,time_masks=2", "`time_masks` of an augmentation is given twice"),
        ("time_masks", "`time_masks` of an augmentation must be a whole number, got ''; write time_masks=2"),
        ("time_masks=1.5", "`time_masks` of an augmentation must be a whole number, got '1.5'"),
        ("gain_db=loud", "`gain_db` of an augmentation must be a number, got 'loud'"),
        ("gain_db=-1", "`gain_db` of an augmentation must be from 0 to 40, got -1.0"),
        ("equalizer_db=41", "`equalizer_db` of an augmentation must be from 0 to 40, got 41.0"),
        ("gain_db=nan", "`gain_db` of an augmentation must be from 0 to 40, got nan"),
        ("mixup_alpha=0.001", "`mixup_alpha` of an augmentation must be 0, or from 0.01 to 100, got 0.001"),
        ("mixup_alpha=nan", "`mixup_alpha` of an augmentation must be 0, or"),
        ("frequency_masks=-1", "`frequency_masks` of an augmentation must be at least 0, got -1"),
        ("time_masks=-1", "`time_masks` of an augmentation must be at least 0, got -1"),
        ("frequency_mask_bands=0", "`frequency_mask_bands` of an augmentation must be at least 1, got 0"),
        ("time_mask_frames=0", "`time_mask_frames` of an augmentation must be at least 1, got 0"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(UserError) as caught:
        Augmentation.parse(settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_mask_must_fit_into_a_patch():
    Augmentation(frequency_mask_bands=41, time_mask_frames=81).check_fits(patch_frames=80, mel_bands=40)
    asked = Augmentation(frequency_masks=1, frequency_mask_bands=40, time_masks=1, time_mask_frames=80)
    asked.check_fits(patch_frames=80, mel_bands=40)
    with pytest.raises(UserError, match=r"`frequency_mask_bands` must be at most the 39 mel bands .*, got 40"):
        asked.check_fits(patch_frames=80, mel_bands=39)
    with pytest.raises(UserError, match=r"`time_mask_frames` must be at most the 79 frames .*, got 80"):
        asked.check_fits(patch_frames=79, mel_bands=40)


def test_reading_flags_does_not_import_tensorflow():
    code = "import sys, tfrecords.augmentation, tfrecords.__main__; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
