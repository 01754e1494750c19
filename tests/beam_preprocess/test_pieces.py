import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_preprocess import splits
from beam_preprocess.groups import find_pieces, recording_of
from beam_preprocess.gtzan.facts import all_clips, genre_of
from beam_preprocess.inputs.tracks import Track


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
        assert splits.torn_groups(tracks, parts) == []
        words = {}
        for track, part in zip(tracks, parts, strict=True):
            if "_part" in track.track_id and not track.track_id.startswith("rock/rock"):
                assert words.setdefault(track.track_id.partition("_part")[0], part) == part
