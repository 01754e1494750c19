import cProfile
import dataclasses
import itertools
import pstats
import random
from collections import Counter, defaultdict

import pytest

from beam_preprocess.audio.front_end import FrontEndConfig
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import list_tracks
from beam_preprocess.job import claim_output
from beam_preprocess.plan import ShardPlan, make_plan, plan_job
from benchmarks import planning as benchmark
from benchmarks.processes import MIB

CONFIG = JobConfig("in", "out", "music")
SPLIT = {"method": "folds", "folds": 2, "seed": 0}


@pytest.fixture
def tracks(make_tracks):
    return make_tracks([(f"{label}/{index}.wav", label) for label in ("blues", "jazz", "rock") for index in range(40)])


def deal(tracks, parts=("fold_0", "fold_1")):
    return [parts[index % len(parts)] for index in range(len(tracks))]


def plan_of(tracks, config=CONFIG, split=SPLIT):
    return make_plan(config, tracks, deal(tracks), split)


def test_every_track_is_in_one_shard_of_its_part(tracks):
    plan = plan_of(tracks)
    found = {track: shard.part for shard in plan.shards for track in shard.tracks}
    assert found == dict(zip(tracks, deal(tracks), strict=True))
    assert plan.num_tracks == sum(len(shard.tracks) for shard in plan.shards) == len(tracks)
    assert plan.labels == ("blues", "jazz", "rock")
    assert plan.label_counts()["fold_0"] == {"blues": 20, "jazz": 20, "rock": 20}


def test_the_order_of_the_input_does_not_matter(tracks):
    pairs = list(zip(tracks, deal(tracks), strict=True))
    expected = plan_of(tracks)
    random.Random(3).shuffle(pairs)
    assert make_plan(CONFIG, *zip(*pairs, strict=True), SPLIT) == expected


def test_left_out_tracks_and_their_labels_are_not_planned(tracks):
    parts = [None if track.label == "jazz" else "train" for track in tracks]
    plan = make_plan(CONFIG, tracks, parts, SPLIT)
    assert (plan.labels, plan.parts, plan.num_tracks) == (("blues", "rock"), ("train",), 80)


def test_labels_are_mixed_in_every_shard(make_tracks):
    rows = [(f"{label}/{index:03d}.wav", label) for label in ("blues", "jazz", "rock") for index in range(300)]
    plan = plan_of(make_tracks(rows))
    assert len(plan.shards) > 10
    for shard in plan.shards:
        labels = [track.label for track in shard.tracks]
        assert len(set(labels)) == 3
        # Sorted by label there would be two changes.
        assert sum(one != other for one, other in itertools.pairwise(labels)) > 5


@pytest.mark.parametrize(("wanted", "found"), [(2, 2), (1, 2), (6, 6), (10, 10), (10_000, 120)])
def test_num_shards(tracks, wanted, found):
    plan = plan_of(tracks, dataclasses.replace(CONFIG, num_shards=wanted))
    assert len(plan.shards) == found
    sizes = [len(shard.tracks) for shard in plan.shards]
    assert max(sizes) - min(sizes) <= 1


def test_the_number_of_shards_grows_with_the_tracks_and_then_with_their_size(make_tracks):
    def shards(count):
        tracks = make_tracks([(f"{index}.wav", "rock") for index in range(count)])
        return len(make_plan(CONFIG, tracks, ["train"] * count, SPLIT).shards)

    assert [shards(10), shards(100), shards(2000), shards(20_000)] == [1, 4, 63, 65]


def test_file_names_tell_part_and_count(tracks):
    plan = plan_of(tracks, dataclasses.replace(CONFIG, num_shards=4))
    assert [shard.file for shard in plan.shards] == [
        f"music-fold_{fold}.tfrecord-0000{index}-of-00002" for fold in range(2) for index in range(2)
    ]


def test_parts_come_in_the_order_that_people_expect(make_tracks):
    tracks = make_tracks([(f"{index}.wav", "rock") for index in range(12)])
    folds = [f"fold_{index}" for index in (10, 2, 0, 1, 11, 3, 4, 5, 6, 7, 8, 9)]
    assert make_plan(CONFIG, tracks, folds, SPLIT).parts == tuple(f"fold_{index}" for index in range(12))
    parts = make_plan(CONFIG, tracks, ["test", "extra", "valid", "train"] * 3, SPLIT).parts
    assert parts == ("train", "valid", "test", "extra")


def test_json_round_trip_with_odd_characters(make_tracks):
    rows = [('a "b"\\c\n.wav', "R&B, soul"), ("Sigur Rós/Á\u2028.wav", "日本"), ("caf\udce9.wav", "été", "Björk\t")]
    tracks = [*make_tracks(rows), dataclasses.replace(make_tracks([("gone.wav", "x")])[0], size=None)]
    for shard in make_plan(CONFIG, tracks, ["train"] * 4, SPLIT).shards:
        line = shard.to_json()
        assert line.isascii()
        assert len(line.splitlines()) == 1
        assert ShardPlan.from_json(line) == shard


DECIDES_BYTES = {
    "name": "other",
    "front_end": FrontEndConfig(hop_length=500),
    "record_dtype": "float32",
    "min_frames": 40,
    "max_duration_s": 10.0,
}
DECIDES_NO_BYTES = {"source": "moved", "output": "elsewhere", "max_reject_fraction": 0.9, "max_archive_bytes": 1000}
# Their effect is in the tracks, the parts and the shards that a fingerprint is made of.
DECIDES_TRACKS = {
    "needs_labels",
    "split",
    "label_folder",
    "merge_labels",
    "label_column",
    "group_column",
    "groups",
    "num_shards",
}


def test_of_every_field_it_is_known_what_it_decides():
    known = DECIDES_BYTES.keys() | DECIDES_NO_BYTES.keys() | DECIDES_TRACKS
    assert known == {field.name for field in dataclasses.fields(JobConfig)}


@pytest.mark.parametrize("name", DECIDES_BYTES)
def test_a_configuration_that_decides_bytes_changes_every_fingerprint(tracks, name):
    before, after = plan_of(tracks), plan_of(tracks, dataclasses.replace(CONFIG, **{name: DECIDES_BYTES[name]}))
    assert before.fingerprint != after.fingerprint
    for one, other in zip(before.shards, after.shards, strict=True):
        assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("name", DECIDES_NO_BYTES)
def test_a_configuration_that_decides_no_bytes_changes_no_fingerprint(tracks, name):
    assert plan_of(tracks, dataclasses.replace(CONFIG, **{name: DECIDES_NO_BYTES[name]})) == plan_of(tracks)


@pytest.mark.parametrize("change", [{"size": 1001}, {"size": None}, {"label": "jazz"}, {"group": "someone"}])
def test_a_changed_track_changes_the_fingerprint_of_its_shard_only(tracks, change):
    before = plan_of(tracks)
    tracks[0] = dataclasses.replace(tracks[0], **change)
    after = plan_of(tracks)
    assert before.fingerprint != after.fingerprint
    changed = [
        one.file for one, other in zip(before.shards, after.shards, strict=True) if one.fingerprint != other.fingerprint
    ]
    assert changed == [shard.file for shard in after.shards if tracks[0] in shard.tracks]


def test_another_part_changes_the_fingerprint(tracks):
    parts = deal(tracks)
    parts[0], parts[1] = parts[1], parts[0]
    assert make_plan(CONFIG, tracks, parts, SPLIT).fingerprint != plan_of(tracks).fingerprint


def test_audio_that_moved_keeps_its_fingerprint(tracks):
    moved = [dataclasses.replace(track, uri=f"/elsewhere/{track.track_id}") for track in tracks]
    assert plan_of(moved).fingerprint == plan_of(tracks).fingerprint


@pytest.mark.slow
def test_a_million_tracks(tmp_path):
    number = 1_000_000
    found = benchmark.measured(tmp_path, number)
    stages = ", ".join(f"{stage} {found[f'{stage}_s']:.1f} s" for stage in ("list", "plan", "write"))
    print(f"\n{number:,} tracks: {stages}; {found['own_bytes'] / MIB:.0f} MiB on top of the imports")
    assert found["own_bytes"] < 700 * MIB
    seen, parts_of, labels = set(), defaultdict(set), defaultdict(Counter)
    with (benchmark.plan_dir(tmp_path, number) / ".partial" / "plan.jsonl").open("rb") as lines:
        for shard in map(ShardPlan.from_json, lines):
            assert len(shard.tracks) <= 1000
            for track in shard.tracks:
                seen.add(int(track.track_id.rpartition("/")[2].removesuffix(".flac")))
                parts_of[track.group].add(shard.part)
                labels[track.label][shard.part] += 1
    assert len(seen) == sum(counts.total() for counts in labels.values()) == number
    assert max(seen) == number - 1
    assert {len(parts) for parts in parts_of.values()} == {1}
    assert len(labels) == benchmark.GENRES
    for counts in labels.values():
        assert len(counts) == 10


def test_labels_that_were_made_one_are_recorded(make_tracks, job_config, capfd):
    tracks = make_tracks(
        [(f"{label}/{number}.wav", label) for label in ("Rock", "rock", "jazz") for number in range(4)]
    )
    plan = plan_job(job_config("/in", "/out", merge_labels=True), tracks)
    assert plan.labels == ("Rock", "jazz")
    assert plan.split["merged_labels"] == {"Rock": ["Rock", "rock"]}
    said = capfd.readouterr().err
    assert "'Rock' and 'rock'" in said
    assert "warning" not in said
    plan = plan_job(job_config("/in", "/out"), tracks)
    assert plan.labels == ("Rock", "jazz", "rock")
    assert "merged_labels" not in plan.split
    assert "warning: labels" in capfd.readouterr().err


def test_the_work_grows_as_the_tracks_do(tmp_path):
    def calls(number):
        source = str(benchmark.write_csv(tmp_path / f"{number}.csv", number))
        config = JobConfig(source, str(tmp_path / f"{number}"), "music")
        with cProfile.Profile() as profile:
            claim_output(config.output, plan_job(config, list_tracks(source)), overwrite=False)
        return pstats.Stats(profile).total_calls

    # About 64 shards in either case, so the rest of the growth is by tracks alone.
    assert calls(4_000) < 5.5 * calls(800)
