import pytest

from beam_preprocess.tracks import list_tracks
from tfrecords.command_line import UserError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound" * len(path.name))


def ids(source, **columns):
    return [track.track_id for track in list_tracks(str(source), **columns)]


@pytest.fixture
def music(tmp_path):
    root = tmp_path / "music"
    touch(root, "rock/b.wav", "rock/a.AU", "jazz/a.wav", "jazz/deep/er/c.Mp3", "blues/notes.txt", "jazz/x.wav.part")
    return root


def test_a_folder_is_read_with_its_subfolders(music):
    tracks = list_tracks(str(music))
    assert [(track.track_id, track.label) for track in tracks] == [
        ("jazz/a.wav", "jazz"),
        ("jazz/deep/er/c.Mp3", "er"),
        ("rock/a.AU", "rock"),
        ("rock/b.wav", "rock"),
    ]
    assert tracks[0].uri == str(music / "jazz/a.wav")
    assert tracks[0].size == 25
    assert all(track.group == track.track_id for track in tracks)


@pytest.mark.parametrize("suffix", ["/", "//", "/."])
def test_how_the_folder_is_spelled_does_not_matter(music, suffix):
    assert [track.track_id.removeprefix("./") for track in list_tracks(f"{music}{suffix}")] == ids(music)


def test_a_relative_folder(music, monkeypatch):
    monkeypatch.chdir(music.parent)
    absolute = list_tracks(str(music))
    assert list_tracks("music") == absolute
    monkeypatch.chdir(music)
    assert list_tracks(".") == absolute


def test_files_right_in_the_folder_are_labelled_by_it(music):
    touch(music, "top.wav")
    assert {track.track_id: track.label for track in list_tracks(str(music))}["top.wav"] == "music"


def test_hidden_files_and_folders_are_no_tracks(music):
    before = ids(music)
    touch(music, "rock/.hidden.wav", "rock/._b.wav", ".Trash/rock/old.wav", "rock/.cache/x.wav")
    assert ids(music) == before


def test_a_glob(music):
    tracks = list_tracks(f"{music}/*/a.*")
    assert [(track.track_id, track.label) for track in tracks] == [("jazz/a.wav", "jazz"), ("rock/a.AU", "rock")]
    assert tracks == list_tracks(f"{music}//*/a.*")


def test_a_glob_in_one_folder(music):
    for pattern in (f"{music}/rock/*", f"{music}/rock//*"):
        assert [(track.track_id, track.label) for track in list_tracks(pattern)] == [
            ("a.AU", "rock"),
            ("b.wav", "rock"),
        ]


def test_a_relative_glob(music, monkeypatch):
    monkeypatch.chdir(music / "rock")
    assert list_tracks("*.wav") == list_tracks(f"{music}/rock/*.wav")
    assert list_tracks("*.wav")[0].label == "rock"


def test_a_recursive_glob_lists_each_file_once(music):
    assert ids(f"{music}/**/*.[wW][aA][vV]") == ["jazz/a.wav", "rock/b.wav"]
    assert ids(f"{music}/**/**/*") == ids(music)


def test_a_folder_whose_name_holds_glob_characters(tmp_path):
    root = tmp_path / "my [music]*"
    touch(root, "rock [live]/what?.wav", "jazz/a.wav")
    assert ids(root) == ["jazz/a.wav", "rock [live]/what?.wav"]


def test_linked_folders_count_once_and_loops_end(music, tmp_path):
    touch(tmp_path, "elsewhere/soul/s.wav")
    (music / "soul").symlink_to(tmp_path / "elsewhere" / "soul")
    (music / "soul again").symlink_to(tmp_path / "elsewhere" / "soul")
    (music / "jazz" / "loop").symlink_to(music)
    found = ids(music)
    assert len(found) == 5
    assert sum("s.wav" in track_id for track_id in found) == 1


def test_a_broken_link_is_listed_for_the_job_to_reject(music):
    (music / "rock" / "gone.wav").symlink_to(music / "nowhere.wav")
    assert "rock/gone.wav" in ids(music)


def test_names_that_are_not_utf8(music):
    (music / "rock/b.wav").rename(music / "rock/caf\udce9.wav")
    assert "rock/caf\udce9.wav" in ids(music)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", r"no audio file in this folder \(looked for \.wav .*one folder per label is expected"),
        ("missing", "no such folder"),
        ("file.wav", r"is a file; give the folder it lies in, or a \.csv"),
        ("empty/*.wav", "matches no audio file"),
        ("missing.csv", "cannot be read: .*"),
    ],
)
def test_nothing_there(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "file.wav", "empty/readme.md")
    with pytest.raises(UserError, match=message):
        list_tracks(str(tmp_path / name))


def write_csv(root, text, encoding="utf-8"):
    path = root / "tracks.csv"
    path.write_bytes(text.encode(encoding))
    return str(path)


def test_a_csv(music):
    source = write_csv(
        music,
        "genre,path,artist,year\n"
        'rock,rock/b.wav,"Earth, Wind & ""Fire""",1975\n'
        "jazz, jazz/deep/er/c.Mp3 ,Björk,1990\n"
        "jazz,jazz/a.wav,,1959\n",
    )
    tracks = list_tracks(source)
    assert [(track.track_id, track.label, track.group, track.size) for track in tracks] == [
        ("jazz/a.wav", "jazz", "jazz/a.wav", 25),
        ("jazz/deep/er/c.Mp3", "jazz", "Björk", 25),
        ("rock/b.wav", "rock", 'Earth, Wind & "Fire"', 25),
    ]
    assert tracks[0].uri == str(music / "jazz/a.wav")


@pytest.mark.parametrize(("encoding", "newline"), [("utf-8-sig", "\n"), ("utf-8", "\r\n"), ("utf-8-sig", "\r\n")])
def test_a_csv_as_spreadsheets_write_it(music, encoding, newline):
    source = write_csv(music, newline.join(["path,genre", "Sigur Rós Á.wav,été", ""]), encoding)
    (track,) = list_tracks(source)
    assert (track.track_id, track.label, track.group) == ("Sigur Rós Á.wav", "été", "Sigur Rós Á.wav")


def test_a_listed_file_that_is_missing_has_no_size(music):
    source = write_csv(music, "path,genre\nrock/b.wav,rock\nrock/gone.wav,rock\n")
    assert [track.size for track in list_tracks(source)] == [25, None]


def test_columns_of_choice(music):
    text = "path,genre,style,artist,album\nrock/b.wav,rock,grunge,N,In\njazz/a.wav,jazz,bop,M,Kind\n"
    tracks = list_tracks(write_csv(music, text), label_column="style", group_column="album")
    assert [(track.label, track.group) for track in tracks] == [("bop", "Kind"), ("grunge", "In")]
    with pytest.raises(UserError, match="no column 'band'; it has path, genre, style, artist, album"):
        list_tracks(write_csv(music, text), group_column="band")
    with pytest.raises(UserError, match="no column 'mood'"):
        list_tracks(write_csv(music, text), label_column="mood")


def test_without_an_artist_column_each_track_is_on_its_own(music):
    (track,) = list_tracks(write_csv(music, "path,genre,band\nrock/b.wav,rock,X\n"))
    assert track.group == "rock/b.wav"


def test_absolute_and_remote_paths_in_a_csv(music, tmp_path):
    touch(tmp_path, "other/o.wav")
    source = write_csv(music, f"path,genre\n{tmp_path}/other/o.wav,rock\ngs://bucket/far.wav,rock\n")
    found = {(track.uri, track.size) for track in list_tracks(source)}
    assert found == {(f"{tmp_path}/other/o.wav", 25), ("gs://bucket/far.wav", None)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path'; it has none"),
        ("file,genre\na.wav,rock\n", "no column 'path'; it has file, genre"),
        ("path,style\na.wav,rock\n", "no column 'genre'; it has path, style"),
        ("path;genre\na.wav;rock\n", "no column 'path'; it has path;genre"),
        ("path,genre\n", "lists no track"),
        ("path,genre\na.wav,rock\nb.wav,\n", "line 3: path or genre is empty"),
        ("path,genre\na.wav,rock\n ,rock\n", "line 3: path or genre is empty"),
        ("path,genre\na.wav\n", "line 2: path or genre is empty"),
        ("path,genre\na.wav,rock\nb.wav,rock\na.wav,jazz\n", r"line 4: a\.wav is on line 2 already"),
        ("path,genre\na.wav,rock\n./a.wav,rock\n", r"line 3: \./a\.wav is on line 2 already"),
        ('path,genre\n"' + "a" * 200_000, "not a CSV: field larger than field limit"),
    ],
)
def test_mistakes_in_a_csv(tmp_path, text, message):
    with pytest.raises(UserError, match=rf"tracks\.csv: {message}"):
        list_tracks(write_csv(tmp_path, text))


def test_a_csv_in_another_encoding(tmp_path):
    source = write_csv(tmp_path, "path,genre\ncafé.wav,rock\n", "latin-1")
    with pytest.raises(UserError, match=r"not UTF-8 text .* save it as UTF-8"):
        list_tracks(source)
