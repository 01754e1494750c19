import csv
import errno
import os
from collections import defaultdict

import pytest

from beam_preprocess.gtzan.facts import (
    all_clips,
    clip_of,
    faults,
    genre_of,
    groups,
    plain,
    same_songs,
    songs,
    split_lists,
    table,
    write_table,
)
from beam_preprocess.inputs.tracks import list_tracks
from tfrecords.common.command_line import UserError

FILES = {
    "rock.00016": "rock/rock.00016.wav",
    "metal.00058": "metal/metal.00058.wav",
    "jazz.00054": "jazz/jazz.00054.wav",
    "pop.00083": "pop/pop.00083.wav",
}


def test_a_row_for_each_clip():
    rows = list(csv.DictReader(table(FILES).splitlines()))
    assert list(rows[0]) == ["path", "genre", "artist", "title", "group"]
    assert [row["path"] for row in rows] == [FILES[clip] for clip in sorted(FILES)]
    by_path = {row["path"]: row for row in rows}
    queen = {"genre": "metal", "artist": "Queen", "title": "Tie Your Mother Down", "group": "Queen"}
    assert by_path["metal/metal.00058.wav"].items() >= queen.items()
    assert by_path["jazz/jazz.00054.wav"]["artist"] == by_path["jazz/jazz.00054.wav"]["group"] == ""


def test_the_job_reads_it_artist_safe_without_a_flag(tmp_path):
    tracks = {track.track_id: track for track in list_tracks(str(write_table(tmp_path, FILES)))}
    assert tracks["metal/metal.00058.wav"].group == tracks["rock/rock.00016.wav"].group == "Queen"
    assert tracks["jazz/jazz.00054.wav"].group == "jazz/jazz.00054.wav"
    assert tracks["rock/rock.00016.wav"].label == "rock"


def test_it_is_written_once(tmp_path):
    path = write_table(tmp_path, FILES)
    before = path.stat().st_mtime_ns
    assert write_table(tmp_path, FILES) == path
    assert path.stat().st_mtime_ns == before
    path.write_text("half")
    write_table(tmp_path, FILES)
    assert path.read_text("utf-8") == table(FILES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tracks.csv"]


def test_it_has_its_name_when_it_is_on_the_disk(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"tracks\.csv cannot be written: No space left on device$"):
        write_table(tmp_path, FILES)
    assert list(tmp_path.iterdir()) == []


def test_it_cannot_be_written(tmp_path):
    (tmp_path / "tracks.csv").mkdir()
    with pytest.raises(UserError, match=r"tracks\.csv cannot be written: "):
        write_table(tmp_path, FILES)


@pytest.mark.parametrize(
    "path",
    [
        "blues/blues.00000.wav",
        "genres/blues/blues.00000.au",
        "/data/Data/genres_original/blues/blues.00000.wav",
        "a\n/blues/blues.00000.WAV",
    ],
)
def test_clips(path):
    assert clip_of(path) == "blues.00000"


@pytest.mark.parametrize(
    "path",
    [
        "blues.00000.wav",
        "rock/blues.00000.wav",
        "xblues/blues.00000.wav",
        "blues/blues.00100.wav",
        "blues/blues.0000.wav",
        "blues/blues.000000.wav",
        "blues/._blues.00000.wav",
        "blues/blues.00000",
        "blues/blues.00000.wav.part",
        "blues/blues00000.png",
        "polka/polka.00000.wav",
        "blues/blues.0000\N{ARABIC-INDIC DIGIT ONE}.wav",
    ],
)
def test_files_that_are_no_clips(path):
    assert clip_of(path) is None


def test_all_of_them():
    clips = all_clips()
    assert (len(clips), clips[0], clips[-1]) == (1000, "blues.00000", "rock.00099")
    assert clips == sorted(clips)
    assert all(clip_of(f"{genre_of(clip)}/{clip}.wav") == clip for clip in clips)


def test_what_is_heard():
    assert list(songs()) == all_clips()
    assert songs()["metal.00058"].artists == ("Queen",)
    assert songs()["metal.00058"].title == "Tie Your Mother Down"
    assert songs()["jazz.00054"].artists == ()
    assert sum(bool(song.artists) for song in songs().values()) == 983
    assert [song.artists for song in songs().values() if "Ja Rule" in song.artists] == [("Jennifer Lopez", "Ja Rule")]


@pytest.mark.parametrize(
    ("name", "sizes"), [("gtzan_filtered", (443, 197, 290)), ("gtzan_stratified", (500, 250, 250))]
)
def test_published_lists(name, sizes):
    lists = split_lists(name)
    assert list(lists) == ["train", "valid", "test"]
    assert tuple(map(len, lists.values())) == sizes
    clips = [clip_of(path) for paths in lists.values() for path in paths]
    assert None not in clips
    assert len(set(clips)) == len(clips)


def test_faults_are_those_of_the_lists_and_songs():
    filtered = {part: {clip_of(path) for path in paths} for part, paths in split_lists("gtzan_filtered").items()}
    assert "jazz.00054" in filtered["train"]
    assert not any("reggae.00086" in clips for clips in filtered.values())
    assert songs()["metal.00058"].title == songs()["rock.00016"].title
    assert faults()["jazz.00054"].fault == "undecodable"
    assert all(fault.detail and fault.source and fault.clip in songs() for fault in faults().values())


def test_an_artist_is_in_one_group():
    by_artist = defaultdict(set)
    for clip, song in songs().items():
        for artist in song.artists:
            by_artist[artist].add(groups()[clip])
    assert {len(found) for found in by_artist.values()} == {1}


def test_a_song_is_in_one_group():
    assert all(len({groups().get(clip, clip) for clip in clips}) == 1 for clips in same_songs())
    assert groups()["metal.00058"] == groups()["rock.00016"] == "Queen"


def test_clips_of_several_artists_connect_them():
    assert groups()["reggae.00000"] == groups()["hiphop.00039"] == "Bob Marley; Lauryn Hill"
    assert groups()["jazz.00035"] == groups()["jazz.00049"] == "Coleman Hawkins; Sarah Vaughan"


def test_an_unknown_artist_stands_for_itself():
    unknown = {clip for clip, song in songs().items() if not song.artists}
    assert len(unknown) == 17
    assert unknown.isdisjoint(groups())
    assert len(groups()) == 983


def test_the_groups_of_blues_cannot_be_balanced_over_ten_folds():
    assert len({group for clip, group in groups().items() if genre_of(clip) == "blues"}) == 9


def test_songs_that_are_there_more_than_once():
    found = same_songs()
    assert len(found) >= 59
    assert ("metal.00058", "rock.00016") in found
    assert ("pop.00015", "pop.00021", "pop.00022") in found
    clips = [clip for same in found for clip in same]
    assert len(clips) == len(set(clips))


def test_another_artists_song_of_that_name_in_another_genre_is_another_song():
    together = {clip for same in same_songs() for clip in same}
    assert {"blues.00037", "metal.00019", "reggae.00000", "rock.00080"}.isdisjoint(together)
    assert groups()["blues.00037"] == "Kelly Joe Phelps"


def test_titles_are_compared_without_case_accents_and_punctuation():
    assert plain("Jumpin', Jumpin'") == plain("jumpin jumpin")
    assert plain("(You Drive Me) Crazy") == plain("You Drive Me  Crazy!")
    assert plain("Á la Folie") == plain("a\u0300 la folie")
    assert plain("That's It") == plain("Thats it")
    assert plain("Is This Love") != plain("Is This Live")
