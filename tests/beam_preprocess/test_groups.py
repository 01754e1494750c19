import dataclasses
import tarfile

import pytest

from beam_preprocess.config import SplitConfig
from beam_preprocess.groups import group_tracks, is_gtzan
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
    """All 1,000, without audio; the size of one is as that of the damaged file."""
    return [track_of(clip, size=1234 if clip == "jazz.00054" else CLIP_BYTES) for clip in all_clips()]


@pytest.fixture
def config_of(tmp_path, job_config):
    def make(**changes):
        return job_config("/gtzan", tmp_path / "out", **{"split": SplitConfig(folds=None)} | changes)

    return make


def test_it_is_known_by_names_labels_and_sizes(gtzan):
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


def test_what_the_input_says_goes_first(config_of, gtzan):
    mine = [dataclasses.replace(track, group=f"mine {track.label}") for track in gtzan]
    grouping = group_tracks(config_of(), mine)
    assert (grouping.tracks, grouping.folds, grouping.table) == (mine, 5, None)
    assert group_tracks(config_of(groups="gtzan"), mine).table == "gtzan"


def test_other_sets_are_left_alone(config_of, make_tracks, capfd):
    tracks = make_tracks([("rock/a.wav", "rock"), ("jazz/b.wav", "jazz")])
    grouping = group_tracks(config_of(), tracks)
    assert (grouping.tracks, grouping.folds, grouping.table) == (tracks, 10, None)
    assert capfd.readouterr().err == ""


def test_told_that_it_is_gtzan(config_of):
    converted = [track_of("rock.00016", extension=".mp3", size=None), track_of("metal.00058", extension=".mp3")]
    assert group_tracks(config_of(), converted).table is None
    assert {track.group for track in group_tracks(config_of(groups="gtzan"), converted).tracks} == {"Queen"}
    with pytest.raises(UserError, match=r"--groups=gtzan: rock/mine\.wav is no clip of GTZAN, such as blues/blues"):
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
    with pytest.raises(UserError, match="--group_column and --groups=none exclude each other"):
        job_config(tmp_path / "a.csv", tmp_path / "out", group_column="artist", groups="none")
    with pytest.raises(UserError, match="--groups must be one of auto, gtzan, none, got 'all'"):
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
    assert all(words in said for words in ("warning", "4 recordings", "8 pieces", "jazz/a_part1.wav", "--groups=none"))
    plan = plan_job(config_of(split=SplitConfig(folds=2)), tracks)
    assert (plan.split["groups"], plan.split["grouped"], plan.split["group_safe"]) == (4, True, True)
    assert plan.split["cut_recordings"] == 4
    capfd.readouterr()
    apart = plan_job(config_of(split=SplitConfig(folds=2), groups="none"), tracks)
    assert (apart.split["groups"], apart.split["grouped"]) == (8, False)
    assert "pieces" not in capfd.readouterr().err
    with pytest.raises(UserError, match=r"4 groups .* 5 parts.*pieces.*--groups=none"):
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
