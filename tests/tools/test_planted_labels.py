import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tools import planted_labels
from tools.planted_labels import Outcome, Track, plant, relabel
from trainer.evaluation.label_errors import LabelErrors

TRACKS = {f"track {number}": Track(number % 4, f"artist {number // 3}") for number in range(60)}


@pytest.mark.parametrize("whole_groups", [False, True])
def test_a_share_of_the_tracks_gets_another_label_and_artists_stay_whole(whole_groups):
    wrong = plant(TRACKS, 4, share=0.1, seed=0, whole_groups=whole_groups)
    assert len(wrong) == 6 and set(wrong.values()) <= set(range(4))
    assert all(label != TRACKS[name].label for name, label in wrong.items())
    artists = {TRACKS[name].group for name in wrong}
    assert (len(artists) == 2) == whole_groups
    assert wrong == plant(TRACKS, 4, share=0.1, seed=0, whole_groups=whole_groups)
    assert wrong != plant(TRACKS, 4, share=0.1, seed=1, whole_groups=whole_groups)


def test_the_copy_is_a_sound_dataset_with_other_labels(tiny, tmp_path):
    dataset = Dataset(tiny.path)
    changed = tiny.records["train"][0]
    relabel(dataset, tmp_path / "copy", {changed.track_id: (changed.label + 1) % 3})
    copy = Dataset(tmp_path / "copy")
    assert list(copy.verify()) == [] and copy.manifest.fingerprint != dataset.manifest.fingerprint
    for part in dataset.manifest.parts:
        for record, before in zip(copy.records(part), dataset.records(part), strict=True):
            assert (record.label != before.label) == (record.track_id == changed.track_id)
            np.testing.assert_array_equal(record.log_mel, before.log_mel)


def test_planted_ones_are_counted_in_a_list_of_their_number_and_among_the_suspects():
    suspicion = np.array([0.9, 0.1, 0.8, 0.7, 0.2])
    found = LabelErrors(np.zeros((2, 2), int), np.zeros(5, int), suspicion, suspicion > 0.6)
    outcome = Outcome.of(found, np.array([True, False, False, True, False]))
    assert outcome == Outcome(planted=2, listed=1, suspects=3, caught=2)
    assert outcome.row(0.05, 1) == ("5 %", "1", "1 of 2, 50.0 %", "3", "66.7 %", "100.0 %")


def test_shares_that_are_none(run, tiny, tmp_path):
    with pytest.raises(UserError, match="above 0 and below 1, got '0,x'"):
        run(planted_labels, f"--data_dir={tiny.path}", f"--output={tmp_path}", "--shares=0,x")
