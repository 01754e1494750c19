import dataclasses

import numpy as np
import pytest

from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.show import VERSIONS, augmented_samples, samples, spectrograms_of


def titles(data, **arguments):
    return [item.title for item in samples(Dataset(data.path, data.manifest), **arguments)]


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
    for part in own.manifest.parts.values():
        part.tracks["silence"] = 0
    manifest = dataclasses.replace(own.manifest, labels=("blues", "jazz", "rock", "silence"))
    items = samples(Dataset(own.path, manifest), parts=["fold_0"], count=8)
    assert [item.title.split(":")[0] for item in items] == ["blues", "jazz", "rock"] * 2


def test_tracks_by_name_in_the_order_asked(tmp_path, write_dataset):
    data = write_dataset(tmp_path / "data", frames=(600, 600), segments=2, mel_bands=4)
    wanted = [data.records["test"][3], data.records["train"][0]]
    assert [record.segment for record in (data.records["test"][2], *wanted)] == [0, 1, 0]
    items = spectrograms_of(Dataset(data.path), [wanted[0].track_id, "not there", wanted[1].track_id])
    for item, record in zip(items, [data.records["test"][2], wanted[1]], strict=True):
        assert item.title.endswith(record.track_id.partition("/")[2])
        np.testing.assert_array_equal(item.log_mel, record.log_mel[:430])


def test_only_the_start_of_a_track_is_shown(tmp_path, write_dataset):
    data = write_dataset(tmp_path / "long", frames=(600, 600), segments=2, mel_bands=4)
    items = samples(Dataset(data.path, data.manifest), parts=["train"], count=6)
    starts = [record for record in data.records["train"] if record.segment == 0]
    assert len(items) == 6
    for item, record in zip(items, sorted(starts, key=lambda record: record.track_id[-7:]), strict=True):
        assert item.log_mel.dtype == np.float32
        assert item.frames_per_s == pytest.approx(22050 / 512)
        np.testing.assert_array_equal(item.log_mel, record.log_mel[:430])  # 10 s


def test_mistakes(own):
    with pytest.raises(UserError, match="no part 'fold_9'"):
        samples(Dataset(own.path), parts=["fold_9"], count=1)
    own.shards("fold_0")[0].unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        samples(Dataset(own.path), parts=["fold_0"], count=1)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, write_dataset):
    """Tracks of 70 to 100 frames, of which those of 80 and more make a patch."""
    path = tmp_path_factory.mktemp("mixed") / "dataset"
    return write_dataset(path, frames=(70, 100), tracks_per_label=6, mel_bands=9, front_end={"compression": "log10"})


def augmented(data, *, count=6, **settings):
    """Rows of panels: a patch, then its versions."""
    items = augmented_samples(Dataset(data.path), parts=["train"], count=count, augmentation=Augmentation(**settings))
    return [items[start : start + 1 + VERSIONS] for start in range(0, len(items), 1 + VERSIONS)]


def test_each_patch_is_followed_by_versions_of_it(mixed):
    rows = augmented(mixed, time_masks=1, frequency_masks=1)
    long = {record.track_id: record.log_mel for record in mixed.records["train"] if len(record.log_mel) >= 80}
    statistics = mixed.manifest.statistics(["train"])
    assert len(rows) == 6 and any(len(record.log_mel) < 80 for record in mixed.records["train"])
    for patch, *versions in rows:
        label, name = patch.title.split(": ")
        log_mel = long[f"{label}/{name}"]
        middle = log_mel[(len(log_mel) - 80) // 2 :][:80]
        np.testing.assert_allclose(patch.log_mel, (middle - statistics.mean) / statistics.scale, atol=1e-5)
        assert [version.title for version in versions] == [f"version {number}" for number in range(1, 5)]
        for version in versions:
            masked = version.log_mel == 0
            np.testing.assert_array_equal(version.log_mel[~masked], patch.log_mel[~masked])
        assert len({version.log_mel.tobytes() for version in versions}) == VERSIONS


def test_mixed_patches_tell_their_labels(mixed):
    rows = augmented(mixed, mixup_alpha=1.0)
    titles = [version.title for _, *versions in rows for version in versions]
    assert any(" + " in title for title in titles)
    for patch, *versions in rows:
        label = patch.title.split(":")[0]
        for version in versions:
            first, *rest = version.title.split(" + ")
            assert first.endswith(label)
            if rest:
                assert sum(int(share.split()[0]) for share in (first, *rest)) in (99, 100, 101)


def test_tracks_shorter_than_a_patch_are_left_out(own, mixed):
    assert augmented_samples(Dataset(own.path), parts=["all"], count=3, augmentation=Augmentation()) == []
    assert len(augmented(mixed, count=1)) == 1


def test_a_mask_wider_than_a_patch_is_no_picture(mixed):
    with pytest.raises(UserError, match=r"frequency_mask_bands.* must be at most the 9 mel bands of a patch, got 10"):
        augmented(mixed, frequency_masks=1, frequency_mask_bands=10)
