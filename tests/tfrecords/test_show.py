import dataclasses

import numpy as np
import pytest

from tfrecords.command_line import UserError
from tfrecords.show import samples


def titles(data, **arguments):
    return [item.title for item in samples(data.manifest, data.path, **arguments)]


def test_labels_come_in_turn_from_the_first_tracks(own):
    expected = [f"{label}: fold_0 {track} é.wav" for track in range(2) for label in ("blues", "jazz", "rock")]
    assert titles(own, parts=["fold_0"], count=6) == expected
    assert titles(own, parts=["fold_0"], count=4) == expected[:4]
    assert titles(own, parts=["all"], count=1) == expected[:1]


def test_parts_follow_each_other_when_more_is_asked_for(own):
    found = titles(own, parts=["fold_2", "fold_1"], count=100)
    assert len(found) == 12 and len(set(found)) == 12
    assert not any("fold_0" in title for title in found)


def test_a_label_without_tracks_leaves_no_gap(own):
    manifest = dataclasses.replace(own.manifest, labels=("blues", "jazz", "rock", "silence"))
    items = samples(manifest, own.path, parts=["fold_0"], count=8)
    assert [item.title.split(":")[0] for item in items] == ["blues", "jazz", "rock"] * 2


def test_only_the_start_of_a_track_is_shown(tmp_path, write_dataset):
    data = write_dataset(tmp_path / "long", frames=(600, 600), segments=2, mel_bands=4)
    items = samples(data.manifest, data.path, parts=["train"], count=6)
    starts = [record for record in data.records["train"] if record.segment == 0]
    assert len(items) == 6
    for item, record in zip(items, sorted(starts, key=lambda record: record.track_id[-7:]), strict=True):
        assert item.log_mel.dtype == np.float32
        assert item.frames_per_s == pytest.approx(22050 / 512)
        np.testing.assert_array_equal(item.log_mel, record.log_mel[:430])  # 10 s


def test_mistakes(own):
    with pytest.raises(UserError, match="no part 'fold_9'"):
        samples(own.manifest, own.path, parts=["fold_9"], count=1)
    own.shards("fold_0")[0].unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        samples(own.manifest, own.path, parts=["fold_0"], count=1)
