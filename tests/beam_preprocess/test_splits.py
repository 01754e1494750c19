import dataclasses
import os
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_preprocess import splits
from beam_preprocess.gtzan import facts
from beam_preprocess.gtzan.facts import all_clips
from beam_preprocess.inputs.tracks import Track
from tfrecords.common.command_line import UserError


def track(number, label, group=None):
    track_id = f"{label}/{number}.wav"
    return Track(track_id, f"/in/{track_id}", label, group or track_id, 10)


@st.composite
def grouped_tracks(draw):
    """Tracks of up to four labels in groups of any size; a group may have several labels."""
    rows = draw(
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12)), min_size=2, max_size=60),
    )
    return [track(number, label, f"artist {group}") for number, (label, group) in enumerate(rows)]


@st.composite
def any_weights(draw):
    if draw(st.booleans()):
        return splits.fold_weights(draw(st.integers(2, 10)))
    return splits.size_weights(draw(st.sampled_from([0.05, 0.5, 0.8, 0.9, 0.98])), None)


@settings(max_examples=200, deadline=None)
@given(tracks=grouped_tracks(), weights=any_weights(), seed=st.integers(0, 3), data=st.data())
def test_groups_stay_whole_no_part_is_empty_and_the_order_of_tracks_does_not_matter(tracks, weights, seed, data):
    groups = {track.group for track in tracks}
    if len(groups) < len(weights):
        with pytest.raises(UserError, match=f"{len(groups)} groups cannot be split into {len(weights)} parts"):
            splits.assign(tracks, weights, seed=seed)
        return
    parts = splits.assign(tracks, weights, seed=seed)
    assert splits.leaking_groups(tracks, parts) == []
    assert set(parts) == set(weights)
    order = data.draw(st.permutations(range(len(tracks))))
    again = splits.assign([tracks[index] for index in order], weights, seed=seed)
    assert again == [parts[index] for index in order]


def assigned_by_the_rule(tracks, weights, seed):
    """The rule of `assign`, one group after another, without its optimizations."""
    labels = sorted({one.label for one in tracks})
    members = defaultdict(Counter)
    for one in tracks:
        members[one.group][labels.index(one.label)] += 1
    share = np.array(list(weights.values()))
    totals = np.array([sum(one.label == label for one in tracks) for label in labels])
    filled, sizes, part_of = np.zeros((len(labels), len(share))), np.zeros(len(share)), {}
    for group in sorted(members, key=lambda name: (-members[name].total(), splits.stable_hash(seed, name))):
        own, counts = np.array(list(members[group])), np.array(list(members[group].values()))
        fill = counts / totals[own] @ ((filled[own] + counts[:, None] / 2) / totals[own, None]) / share
        barred = (sizes > 0) & (len(members) - len(part_of) <= np.count_nonzero(sizes == 0))
        part = np.lexsort((sizes / share, fill.round(12), barred))[0]
        filled[own, part] += counts
        sizes[part] += counts.sum()
        part_of[group] = list(weights)[part]
    return [part_of[one.group] for one in tracks]


@settings(max_examples=200, deadline=None)
@given(tracks=grouped_tracks(), weights=any_weights(), seed=st.integers(0, 3))
def test_the_same_as_by_a_plain_form_of_the_rule(tracks, weights, seed):
    if len({one.group for one in tracks}) >= len(weights):
        assert splits.assign(tracks, weights, seed=seed) == assigned_by_the_rule(tracks, weights, seed)


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=6), folds=st.integers(2, 10), seed=st.integers(0, 3))
def test_tracks_on_their_own_are_spread_evenly_over_folds(counts, folds, seed):
    tracks = [track(number, f"label{label}") for label, count in enumerate(counts) for number in range(count)]
    if len(tracks) < folds:
        return
    parts = splits.assign(tracks, splits.fold_weights(folds), seed=seed)
    per_label = defaultdict(Counter)
    for one, part in zip(tracks, parts, strict=True):
        per_label[one.label][part] += 1
    for label, found in per_label.items():
        in_each = [found[f"fold_{fold}"] for fold in range(folds)]
        assert max(in_each) - min(in_each) <= 1, label
    sizes = Counter(parts)
    assert max(sizes.values()) - min(sizes.values()) <= len(counts)


@pytest.mark.parametrize(("train_size", "per_label"), [(0.8, 10), (0.8, 25), (0.6, 10), (0.5, 40), (0.9, 100)])
def test_sizes_are_kept_per_label(train_size, per_label):
    tracks = [track(number, label) for label in "abcdefghij" for number in range(per_label)]
    weights = splits.size_weights(train_size, None)
    parts = splits.assign(tracks, weights, seed=0)
    for label in "abcdefghij":
        found = Counter(part for one, part in zip(tracks, parts, strict=True) if one.label == label)
        for part, weight in weights.items():
            assert abs(found[part] - weight * per_label) <= 1


def test_sizes_are_kept_over_all_where_a_label_has_few_tracks():
    tracks = [track(number, label) for label in "abcdefghij" for number in range(5)]
    sizes = Counter(splits.assign(tracks, splits.size_weights(0.8, None), seed=0))
    assert (sizes["train"], sizes["valid"], sizes["test"]) == (40, 5, 5)


def test_sizes_are_kept_with_groups_of_unequal_size():
    # Artists of 12, 11, ... 1 tracks per label: none of the large ones may go to the small parts.
    tracks = [
        track(f"{artist}_{number}", label, f"{label} artist {artist}")
        for label in "abc"
        for artist in range(1, 13)
        for number in range(artist)
    ]
    weights = splits.size_weights(0.8, None)
    sizes = Counter(splits.assign(tracks, weights, seed=0))
    for part, weight in weights.items():
        assert sizes[part] == pytest.approx(weight * len(tracks), abs=5)


def test_large_groups_are_assigned_first():
    # One artist has half of the label: the folds can be even only if the others make up for it.
    tracks = [track(number, "a", "big") for number in range(10)] + [track(number, "a") for number in range(10, 20)]
    parts = splits.assign(tracks, splits.fold_weights(2), seed=0)
    assert Counter(parts) == {"fold_0": 10, "fold_1": 10}


def test_the_seed_deals_equal_groups_in_another_way():
    tracks = [track(number, label) for label in "abc" for number in range(20)]
    results = [splits.assign(tracks, splits.fold_weights(5), seed=seed) for seed in (0, 0, 1, 2)]
    assert results[0] == results[1]
    assert results[0] != results[2] != results[3]


@pytest.mark.parametrize("folds", [1, 0, -3])
def test_at_least_two_folds(folds):
    with pytest.raises(UserError, match=f"`folds` must be at least 2, got {folds}"):
        splits.fold_weights(folds)


@pytest.mark.parametrize("train_size", [0, 1, -0.1, 1.5, float("nan")])
def test_train_size_out_of_range(train_size):
    with pytest.raises(UserError, match="`train_size` must be between 0 and 1"):
        splits.size_weights(train_size, None)


@pytest.mark.parametrize("valid_size", [0, 0.5, 0.7, -0.1, float("nan")])
def test_valid_size_out_of_range(valid_size):
    with pytest.raises(UserError, match=r"`valid_size` must be between 0 and 0\.5"):
        splits.size_weights(0.5, valid_size)


def test_weights():
    assert splits.size_weights(0.6, None) == pytest.approx({"train": 0.6, "valid": 0.2, "test": 0.2})
    assert splits.size_weights(0.6, 0.3) == pytest.approx({"train": 0.6, "valid": 0.3, "test": 0.1})
    assert list(splits.size_weights(0.6, 0.3)) == ["train", "valid", "test"]
    assert splits.fold_weights(4) == dict.fromkeys(("fold_0", "fold_1", "fold_2", "fold_3"), 0.25)


LISTED = [track(number, label) for label in ("blues", "rock") for number in range(3)]


def test_lists_name_tracks_whatever_their_extension():
    lists = {"train": ["blues/0.au", "rock/0.wav", "rock/1"], "test": ["blues/1.mp3", "blues/9.wav"]}
    assert splits.assign_by_lists(LISTED, lists) == ["train", "test", None, "train", "train", None]


def test_a_track_in_two_lists():
    with pytest.raises(UserError, match=r"blues/0\.wav, or its name with another extension, is in train and test"):
        splits.assign_by_lists(LISTED, {"train": ["blues/0.wav"], "test": ["rock/1.wav", "blues/0.au"]})


def test_tracks_that_differ_by_extension_only_are_told_apart_by_lists_that_do():
    tracks = [dataclasses.replace(LISTED[0], track_id=f"blues/0.{extension}") for extension in ("mp3", "ogg", "aiff")]
    lists = {"train": ["blues/0.mp3"], "test": ["blues/0.ogg"]}
    assert splits.assign_by_lists(tracks, lists) == ["train", "test", None]


def test_a_line_that_is_no_path():
    with pytest.raises(UserError, match="no track of the list train"):
        splits.assign_by_lists(LISTED, {"train": ["."], "test": ["blues/0.wav"]})


def test_a_track_twice_in_one_list():
    parts = splits.assign_by_lists(LISTED, {"train": ["blues/0.wav", "blues/0.wav"]})
    assert parts == ["train", *[None] * 5]


def test_a_list_of_another_set():
    lists = {"train": ["blues/0.wav"], "test": ["jazz/7.wav"]}
    with pytest.raises(UserError, match=r"no track of the list test is in the input .*jazz/7\.wav.*blues/0\.wav"):
        splits.assign_by_lists(LISTED, lists)


@pytest.fixture
def list_folder(tmp_path):
    folder = tmp_path / "lists [2016]"
    folder.mkdir()
    (folder / "test_filtered.txt").write_text("blues/2.wav\n")
    (folder / "train_filtered.txt").write_text("\ufeffblues/0.wav\r\n\n  rock/0.wav  \n", "utf-8")
    (folder / "valid_filtered.txt").write_text("blues/1.wav")
    (folder / "notes.md").write_text("not a list")
    return folder


def test_a_folder_of_lists(list_folder):
    expected = {"train": ["blues/0.wav", "rock/0.wav"], "valid": ["blues/1.wav"], "test": ["blues/2.wav"]}
    found = splits.read_lists(str(list_folder))
    assert found == expected
    assert list(found) == ["train", "valid", "test"]
    assert splits.read_lists(f"{list_folder}/") == expected


def test_two_lists_for_a_part_are_chosen_by_glob(list_folder):
    renamed = list_folder.rename(list_folder.parent / "lists")
    (renamed / "train_stratified.txt").write_text("rock/2.wav\n")
    with pytest.raises(UserError, match="two lists for train; choose with a glob"):
        splits.read_lists(str(renamed))
    assert splits.read_lists(f"{renamed}/*_filtered.txt")["train"] == ["blues/0.wav", "rock/0.wav"]
    assert splits.read_lists(f"{renamed}/*_stratified.txt") == {"train": ["rock/2.wav"]}


def test_a_list_that_is_a_broken_link_is_not_left_out(list_folder):
    (list_folder / "valid_filtered.txt").unlink()
    (list_folder / "valid_filtered.txt").symlink_to(list_folder / "not fetched")
    with pytest.raises(UserError, match=r"valid_filtered\.txt cannot be read: No such file"):
        splits.read_lists(str(list_folder))


def test_lists_of_a_store(memory):
    folder = "memory://bucket/lists"
    memory.write(f"{folder}/train_filtered.txt", "\ufeffblues/0.wav\r\nrock/0.wav".encode())
    memory.write(f"{folder}/test_filtered.txt", b"blues/2.wav\n")
    memory.write(f"{folder}/notes.md", b"not a list")
    expected = {"train": ["blues/0.wav", "rock/0.wav"], "test": ["blues/2.wav"]}
    for location in (folder, f"{folder}/", f"{folder}/*_filtered.txt"):
        assert splits.read_lists(location) == expected
    with pytest.raises(UserError, match=r"no \.txt file there"):
        splits.read_lists("memory://bucket/none")
    with pytest.raises(UserError, match=r"memory://nowhere/.* cannot be listed: there is no bucket memory://nowhere"):
        splits.read_lists("memory://nowhere/lists")


@pytest.mark.parametrize("location", ["missing", "missing/*.txt", ""])
def test_no_lists(tmp_path, location):
    with pytest.raises(UserError, match=r"no \.txt file there"):
        splits.read_lists(str(tmp_path / location))


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_list(tmp_path, content):
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"train\.txt is empty"):
        splits.read_lists(str(tmp_path))


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"blues/\xff\xfe.wav\n")
    with pytest.raises(UserError, match=r"train\.txt cannot be read"):
        splits.read_lists(str(tmp_path))


@pytest.mark.parametrize("name", ["train [1].txt", "_train.txt", "a-b.txt"])
def test_a_list_whose_name_cannot_name_files(tmp_path, name):
    (tmp_path / name).write_text("blues/0.wav\n")
    with pytest.raises(UserError, match="does not name a part"):
        splits.read_lists(str(tmp_path))


def test_leaking_groups():
    tracks = [track(0, "a", "x"), track(1, "a", "x"), track(2, "b", "y"), track(3, "b", "y"), track(4, "b", "w")]
    assert splits.leaking_groups(tracks, ["train", "test", "train", None, "test"]) == ["x"]
    assert splits.leaking_groups(tracks, ["train", "test", "train", "test", "test"]) == ["x", "y"]
    assert splits.leaking_groups(tracks, ["train", "train", None, None, "test"]) == []


def test_the_hash_is_the_same_everywhere():
    assert splits.stable_hash(3, "Beyoncé \udcff").hex() == "1de5ad27c2d74f9c1a829b91968a556d"
    assert splits.stable_hash(0, "a").hex() == "1d30fb1f16737ef4cbf440c065736e99"
    assert splits.stable_hash(1, "a") != splits.stable_hash(0, "a") != splits.stable_hash(0, "b")


@pytest.mark.parametrize("name", facts.SPLITS)
def test_lists_that_come_with_the_package(name, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert splits.read_lists(name) == facts.split_lists(name)
    assert capfd.readouterr().err == ""
    # A folder of that name does not change what a command means; it is told, and reached by another spelling.
    (tmp_path / name).mkdir()
    (tmp_path / name / "train.txt").write_text("mine.wav")
    assert splits.read_lists(name) == facts.split_lists(name)
    assert f"./{name}\n" in capfd.readouterr().err
    assert splits.read_lists(f"./{name}") == {"train": ["mine.wav"]}


def test_the_filtered_lists_of_an_au_copy(make_tracks):
    lists = splits.read_lists("gtzan_filtered")
    tracks = make_tracks([(f"{clip.partition('.')[0]}/{clip}.au", clip.partition(".")[0]) for clip in all_clips()])
    parts = splits.assign_by_lists(tracks, lists)
    assert Counter(parts) == {"train": 443, "valid": 197, "test": 290, None: 70}


def test_lists_that_are_no_files_are_one_line(tmp_path):
    os.mkfifo(tmp_path / "train.txt")
    for location in (tmp_path, tmp_path / "train.txt", tmp_path / "*.txt"):
        with pytest.raises(UserError, match=r"`split_lists`: .*train\.txt cannot be read: not a regular file"):
            splits.read_lists(str(location))


def test_lists_in_a_folder_or_file_named_like_a_glob(tmp_path):
    folder = tmp_path / "lists [1]"
    folder.mkdir()
    (folder / "train.txt").write_text("a.wav\n")
    for location in (folder, folder / "train.txt"):
        assert splits.read_lists(str(location)) == {"train": ["a.wav"]}
