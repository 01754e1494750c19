from collections import defaultdict

from beam_preprocess.gtzan.facts import genre_of, groups, plain, same_songs, songs


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
