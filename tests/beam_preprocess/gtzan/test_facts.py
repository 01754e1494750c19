import pytest

from beam_preprocess.gtzan.facts import all_clips, clip_of, faults, songs, split_lists


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
