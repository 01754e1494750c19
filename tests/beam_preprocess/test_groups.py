import dataclasses
import itertools
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_preprocess import splits
from beam_preprocess.config import SplitConfig
from beam_preprocess.groups import find_pieces, group_tracks, is_gtzan, recording_of
from beam_preprocess.gtzan.facts import all_clips, genre_of, songs
from beam_preprocess.inputs.archive import list_archive
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.plan import plan_job
from tfrecords.common.command_line import UserError

CLIP_BYTES = 1_323_632


def track_of(clip, *, size=CLIP_BYTES, extension=".wav", folder=""):
    track_id = f"{folder}{genre_of(clip)}/{clip}{extension}"
    return Track(track_id, f"/none/{track_id}", genre_of(clip), track_id, size)


@pytest.fixture(scope="module")
def gtzan():
    """All 1,000 clips, without audio; one has the size of GTZAN's damaged file."""
    return [track_of(clip, size=1234 if clip == "jazz.00054" else CLIP_BYTES) for clip in all_clips()]


@pytest.fixture
def config_of(tmp_path, job_config):
    def make(**changes):
        return job_config("/gtzan", tmp_path / "out", **{"split": SplitConfig(folds=None)} | changes)

    return make


def test_gtzan_is_recognized_by_names_labels_and_sizes(gtzan):
    assert is_gtzan(gtzan)
    assert is_gtzan(gtzan[::100])
    assert is_gtzan([track_of("blues.00000", extension=".AU", folder="genres_original/")])
    assert not is_gtzan([])
    for other in (
        track_of("blues.00000", extension=".mp3"),
        track_of("blues.00000", size=1_000_000),
        track_of("blues.00000", size=2_000_000),
        track_of("blues.00000", size=None),
        track_of("blues.00100"),
        dataclasses.replace(track_of("blues.00000"), label="rock"),
        dataclasses.replace(track_of("blues.00000"), track_id="blues.00000.wav"),
        dataclasses.replace(track_of("blues.00000"), track_id="blues/mine.wav"),
    ):
        assert not is_gtzan([*gtzan[:10], other]), other


def test_artists_of_a_plain_folder(config_of, gtzan, capfd):
    grouping = group_tracks(config_of(), gtzan)
    assert (grouping.folds, grouping.table) == (5, "gtzan")
    group = {track.track_id: track.group for track in grouping.tracks}
    assert group["metal/metal.00058.wav"] == group["rock/rock.00016.wav"] == "Queen"
    assert group["jazz/jazz.00054.wav"] == "jazz/jazz.00054.wav"
    assert [track.track_id for track in grouping.tracks] == [track.track_id for track in gtzan]
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("/gtzan: GTZAN, by its file names; tracks of one artist or song")


def test_five_folds_that_tear_no_artist(config_of, gtzan, capfd):
    plan = plan_job(config_of(), gtzan)
    assert plan.parts == tuple(f"fold_{fold}" for fold in range(5))
    assert plan.split["folds"] == 5
    assert (plan.split["group_table"], plan.split["grouped"], plan.split["group_safe"]) == ("gtzan", True, True)
    parts_of = {}
    for shard in plan.shards:
        for track in shard.tracks:
            (clip,) = {track.track_id.split("/")[1].removesuffix(".wav")}
            for artist in songs()[clip].artists:
                parts_of.setdefault(artist, set()).add(shard.part)
    assert {len(parts) for parts in parts_of.values()} == {1}
    # No label is missing anywhere; the nine artists of blues and the 35 clips by Bob Marley are as even as they can be.
    counts = plan.label_counts()
    assert min(min(counts[part].values()) for part in plan.parts) >= 15
    assert max(counts[part]["reggae"] for part in plan.parts) == 36
    assert "warning" not in capfd.readouterr().err


def test_none_at_all(config_of, gtzan, capfd):
    grouping = group_tracks(config_of(groups="none"), gtzan)
    assert (grouping.folds, grouping.table) == (5, None)
    assert all(track.group == track.track_id for track in grouping.tracks)
    assert capfd.readouterr().err == ""
    mine = [dataclasses.replace(track, group="mine") for track in gtzan]
    assert all(track.group == track.track_id for track in group_tracks(config_of(groups="none"), mine).tracks)


def test_groups_of_the_input_go_first(config_of, gtzan):
    mine = [dataclasses.replace(track, group=f"mine {track.label}") for track in gtzan]
    grouping = group_tracks(config_of(), mine)
    assert (grouping.tracks, grouping.folds, grouping.table) == (mine, 5, None)
    assert group_tracks(config_of(groups="gtzan"), mine).table == "gtzan"


def test_other_sets_are_left_alone(config_of, make_tracks, capfd):
    tracks = make_tracks([("rock/a.wav", "rock"), ("jazz/b.wav", "jazz")])
    grouping = group_tracks(config_of(), tracks)
    assert (grouping.tracks, grouping.folds, grouping.table) == (tracks, 10, None)
    assert capfd.readouterr().err == ""


def test_groups_of_gtzan_can_be_requested(config_of):
    converted = [track_of("rock.00016", extension=".mp3", size=None), track_of("metal.00058", extension=".mp3")]
    assert group_tracks(config_of(), converted).table is None
    assert {track.group for track in group_tracks(config_of(groups="gtzan"), converted).tracks} == {"Queen"}
    with pytest.raises(UserError, match=r"`groups=gtzan`: rock/mine\.wav is not a clip of GTZAN, such as blues/blues"):
        group_tracks(config_of(groups="gtzan"), [Track("rock/mine.wav", "", "rock", "rock/mine.wav", 1)])


def test_an_archive(tmp_path, job_config):
    with tarfile.open(tmp_path / "genres.tar.gz", "w:gz", compresslevel=1) as archive:
        for clip in ("metal.00058", "rock.00016", "blues.00000"):
            path = tmp_path / clip
            path.write_bytes(bytes(CLIP_BYTES))
            archive.add(path, f"genres/{genre_of(clip)}/{clip}.au")
    config = job_config(tmp_path / "genres.tar.gz", tmp_path / "out")
    groups = [track.group for track in group_tracks(config, list_archive(config)).tracks]
    assert groups == ["John Lee Hooker", "Queen", "Queen"]


def test_groups_and_a_column_exclude_each_other(job_config, tmp_path):
    with pytest.raises(UserError, match="`group_column` and `groups=none` exclude each other"):
        job_config(tmp_path / "a.csv", tmp_path / "out", group_column="artist", groups="none")
    with pytest.raises(UserError, match="`groups` must be one of auto, gtzan, none, got 'all'"):
        job_config(tmp_path, tmp_path / "out", groups="all")


def pieces_of(*clips):
    paths = [(f"{genre_of(clip)}/{clip}.{number}.wav", genre_of(clip)) for clip in clips for number in range(10)]
    return [Track(path, f"/none/{path}", label, path, 132_000) for path, label in paths]


def test_pieces_of_one_recording_are_a_group(config_of, make_tracks, capfd):
    rows = [
        (f"{label}/{song}_part{number}.wav", label) for label in ("rock", "jazz") for song in "ab" for number in (1, 2)
    ]
    tracks = [*make_tracks(rows)]
    grouping = group_tracks(config_of(), tracks)
    assert len({track.group for track in grouping.tracks}) == grouping.cut_recordings == 4
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert all(words in said for words in ("warning", "4 recordings", "8 pieces", "jazz/a_part1.wav", "`groups=none`"))
    plan = plan_job(config_of(split=SplitConfig(folds=2)), tracks)
    assert (plan.split["groups"], plan.split["grouped"], plan.split["group_safe"]) == (4, True, True)
    assert plan.split["cut_recordings"] == 4
    capfd.readouterr()
    apart = plan_job(config_of(split=SplitConfig(folds=2), groups="none"), tracks)
    assert (apart.split["groups"], apart.split["grouped"]) == (8, False)
    assert "pieces" not in capfd.readouterr().err
    with pytest.raises(UserError, match=r"4 groups .* 5 parts.*pieces.*`groups=none`"):
        plan_job(config_of(split=SplitConfig(folds=5)), tracks)


def test_groups_of_the_input_go_before_its_pieces(config_of, make_tracks, capfd):
    tracks = make_tracks([(f"rock/a_part{number}.wav", "rock", f"artist {number}") for number in range(4)])
    grouping = group_tracks(config_of(), tracks)
    assert (grouping.tracks, grouping.cut_recordings) == (tracks, 0)
    assert capfd.readouterr().err == ""


def test_pieces_of_gtzan_stay_with_their_artist(config_of, capfd):
    tracks = pieces_of("metal.00058", "rock.00016", "blues.00000", "blues.00001", "jazz.00054")
    grouping = group_tracks(config_of(), tracks)
    assert (grouping.folds, grouping.table, grouping.cut_recordings) == (5, "gtzan", 2)
    groups = [track.group for track in grouping.tracks]
    assert groups == [*["Queen"] * 20, *["John Lee Hooker"] * 20, *["jazz/jazz.00054"] * 10]
    said = capfd.readouterr().err
    assert "GTZAN" in said
    assert "blues/blues.00000.0.wav" in said
    # Music of one's own by such names, in other folders, is none.
    mine = [dataclasses.replace(track, label="mine") for track in tracks]
    assert group_tracks(config_of(), mine).table is None


def tracks_of(paths, label=None):
    return [Track(path, f"/in/{path}", label or path.split("/")[-2], path, 1) for path in paths]


def recordings(paths, **options):
    """Recording -> its files."""
    found = find_pieces(tracks_of(paths), **options)
    members = {}
    for index, recording in sorted(found.recording_of.items()):
        members.setdefault(recording, []).append(paths[index])
    assert found.recordings == len(members)
    return members


ORDINARY = {
    "gtzan": [f"{genre_of(clip)}/{clip}.wav" for clip in all_clips()],
    "emotify": [f"classical/classical.{number:05d}.ogg" for number in range(2, 60)],
    "fma": [f"000/{number:06d}.mp3" for number in range(100)],
    "album": [f"rock/Track {number:02d}.mp3" for number in range(1, 13)],
    "titles": [f"rock/{number:02d} - title {number}.mp3" for number in range(1, 13)],
    "one in a genre": [f"{label}/{label}_{number}.wav" for label in ("rock", "jazz") for number in range(9)],
    "clips of a genre": [f"{label}/{label} clip {number}.wav" for label in ("rock", "jazz") for number in range(9)],
    "years": [f"rock/{title} - {year}.mp3" for title in ("one", "two") for year in range(1970, 1975)],
    "no separator": [f"rock/{stem}{number}.wav" for stem in "ab" for number in range(5)],
    "versions": ["rock/a 2.wav", "rock/b 2.wav", "rock/c.wav"],
}


@pytest.mark.parametrize("name", ORDINARY)
def test_numbered_files_that_are_recordings_of_their_own(name):
    assert recordings(ORDINARY[name]) == {}


def test_a_flat_folder_of_numbered_genres_holds_no_pieces():
    tracks = [
        Track(path, path, label, path, 1)
        for label in ("rock", "jazz", "hip hop")
        for path in (f"{label[:4]}.{number:05d}.wav" for number in range(100))
    ]
    assert find_pieces(tracks).recordings == 0


def test_recordings_cut_by_a_running_number():
    cut = [f"blues/blues.{clip:05d}.{piece}.wav" for clip in range(3) for piece in range(10)]
    assert recordings(cut) == {f"blues/blues.{clip:05d}": cut[10 * clip : 10 * clip + 10] for clip in range(3)}
    assert (
        len(recordings(["rock/a-001.wav", "rock/a-002.wav", "rock/b (1).wav", "rock/b (2).wav", "rock/c-1.wav"])) == 2
    )
    # The whole beside its pieces is of the same recording; one stem alone might be an album.
    assert len(recordings(["x/a.wav", "x/a-1.wav", "x/a-2.wav", "x/b-1.wav", "x/b-2.wav", "x/z.wav"])["x/a"]) == 3
    assert recordings(["x/a-1.wav", "x/a-2.wav", "x/z.wav"]) == {}
    # Also where whole clips, which have running numbers of their own, lie beside theirs.
    both = [*cut, *(f"blues/blues.{clip:05d}.wav" for clip in range(3))]
    assert {len(files) for files in recordings(both).values()} == {11}


@pytest.mark.parametrize(
    ("numbers", "runs"), [((0, 1, 2), True), ((1, 2, 4, 5), True), ((1, 2, 9), False), ((4, 5), False)]
)
def test_numbers_must_run_from_0_or_1_with_few_gaps(numbers, runs):
    paths = [f"x/{stem}.{number}.wav" for stem in "ab" for number in numbers]
    assert bool(recordings(paths)) is runs


@pytest.mark.parametrize("word", ["part", "Part ", "piece_", "chunk-", "seg", "segment", "clip.", "slice", "excerpt #"])
def test_a_word_before_the_number_tells_a_piece(word):
    paths = [f"rock/song_{word}3.mp3", f"rock/song_{word}7 of 9.mp3", "rock/apart 3.mp3", "rock/other.mp3"]
    assert recordings(paths) == {"rock/song": paths[:2]}


def test_pieces_in_several_parts_folders_are_of_one_recording():
    paths = ["train/rock/a_part1.wav", "test/rock/a_part2.wav", "train/rock/a_part3.wav", "test/rock/a_part4.wav"]
    assert recordings(paths, skip_folders=1) == {"rock/a": paths}
    assert len(recordings(paths)) == 2


def test_the_recording_of_a_name():
    assert recording_of("a (1 of 3).wav") == "a"
    assert recording_of("half of 3.wav") == "half of"
    assert recording_of("a-1234567.wav") is None
    assert recording_of("blues/blues.00000.3.wav") == "blues/blues.00000"
    assert recording_of("blues/blues.wav") is None
    assert recording_of("a_part1.wav") == "a"


PATHS = [
    f"{folder}/{stem}{middle}{number}.wav"
    for folder, stem, middle, number in itertools.product(
        ("rock", "jazz"), ("a", "b", "c.00001", "rock"), (".", "_part", "-"), range(4)
    )
]


@settings(max_examples=60, deadline=None)
@given(chosen=st.lists(st.sampled_from(PATHS), min_size=2, unique=True), data=st.data())
def test_the_order_does_not_matter_and_pieces_are_never_split(chosen, data):
    def groups(paths):
        tracks = tracks_of(paths)
        found = find_pieces(tracks).recording_of
        return {
            track.track_id: Track(track.track_id, "", track.label, found.get(index, track.track_id), 1)
            for index, track in enumerate(tracks)
        }

    grouped = groups(chosen)
    shuffled = groups(data.draw(st.permutations(chosen)))
    assert grouped == shuffled
    tracks = list(grouped.values())
    if len({track.group for track in tracks}) > 1:
        parts = splits.assign(tracks, splits.fold_weights(2), seed=0)
        assert splits.leaking_groups(tracks, parts) == []
        words = {}
        for track, part in zip(tracks, parts, strict=True):
            if "_part" in track.track_id and not track.track_id.startswith("rock/rock"):
                assert words.setdefault(track.track_id.partition("_part")[0], part) == part
