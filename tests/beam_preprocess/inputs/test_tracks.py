import errno
import os
import re
import unicodedata

import pytest

from beam_preprocess.inputs.tracks import list_tracks
from tfrecords.common.command_line import UserError


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


def test_a_folder_that_cannot_be_listed_is_not_left_out(music, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=f"^{music}/jazz/deep: cannot be listed: Permission denied; make it readable"):
        list_tracks(str(music))


def test_what_a_disk_keeps_of_its_own_is_no_folder_of_music(music, monkeypatch):
    expected = ids(music)
    (music / "lost+found").mkdir()
    scandir = os.scandir

    def refuse(path):
        assert not os.fspath(path).endswith("lost+found")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert ids(music) == expected


def test_names_that_are_not_utf8(music):
    (music / "rock/b.wav").rename(music / "rock/caf\udce9.wav")
    assert "rock/caf\udce9.wav" in ids(music)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", r"no audio file in this folder.*1 \.md.*one folder per label .*\.mp3"),
        ("missing", "no such folder"),
        ("file.wav", r"is a file; give its folder, or a \.csv"),
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


def test_labels_that_are_not_needed(music):
    path = music / "tracks.csv"

    def labels(text, **options):
        path.write_text(text)
        return [track.label for track in list_tracks(str(path), needs_labels=False, **options)]

    assert labels("path\nx.wav\n") == [""]
    assert labels("path,genre\nx.wav,rock\ny.wav,\n") == ["rock", ""]
    assert labels("path,style\nx.wav,rock\n", label_column="style") == ["rock"]
    with pytest.raises(UserError, match="no column 'genre'"):
        labels("path\nx.wav\n", label_column="genre")
    with pytest.raises(UserError, match="line 2: path is empty"):
        labels("path,genre\n,rock\n")


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


def test_a_group_column_goes_before_the_artists(music, capfd):
    source = write_csv(music, "path,genre,artist,group\nrock/b.wav,rock,N,N; M\njazz/a.wav,jazz,M,N; M\n")
    assert [track.group for track in list_tracks(source)] == ["N; M", "N; M"]
    assert "tracks.csv: its column group says which tracks stay together" in capfd.readouterr().err
    assert [track.group for track in list_tracks(source, group_column="artist")] == ["M", "N"]
    assert capfd.readouterr().err == ""


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
        ("", "is empty"),
        ("file,genre\na.wav,rock\n", "no column 'path'; it has file, genre"),
        ("path,style\na.wav,rock\n", "no column 'genre'; it has path, style"),
        ("path|genre\na.wav|rock\n", r"no column 'path'; it has path\|genre"),
        ("path,genre\n", "lists no track"),
        ("path,genre\na.wav,rock\nb.wav,\n", "line 3: path or genre is empty"),
        ("path,genre\na.wav,rock\n ,rock\n", "line 3: path or genre is empty"),
        ("path,genre\na.wav\n", "line 2: path or genre is empty"),
        ("path,genre\na.wav,rock\nb.wav,rock\na.wav,jazz\n", r"line 4: a\.wav is on line 2 already"),
        ("path,genre\na.wav,rock\n\n\nb.wav,Earth, Wind & Fire\n", "line 5: .*Wind & Fire.*quot"),
        ("path,genre,artist\na.wav,rock\n", "line 2: 2 fields.*3 columns"),
        ("path,genre,genre\na.wav,rock,pop\n", "2 columns .*'genre'"),
        ('path,genre\n"a.wav,rock\nb.wav,rock\n', "line 2: .*line 3.*quotation"),
        ("path,genre\na.wav,rock\nhttp://x/a.wav,rock\n", "line 3: http://x/a.wav: http:// is not known"),
        ("path,genre\na.wav,rock\n./a.wav,rock\n", r"line 3: \./a\.wav is on line 2 already"),
        ('path,genre\n"' + "a" * 200_000, "line 2: not a CSV: field larger than field limit"),
    ],
)
def test_mistakes_in_a_csv(tmp_path, text, message):
    with pytest.raises(UserError, match=rf"tracks\.csv: {message}"):
        list_tracks(write_csv(tmp_path, text))


def test_a_second_column_of_a_name_that_is_not_read_does_no_harm(music):
    assert len(list_tracks(write_csv(music, "path,genre,,\nrock/b.wav,rock,,\n"))) == 1


def test_paths_as_windows_writes_them(music):
    touch(music, "rock/a\\b.wav")
    tracks = list_tracks(write_csv(music, "path,genre\nrock\\b.wav,rock\nrock/a\\b.wav,rock\nno\\n.wav,rock\n"))
    assert [(track.track_id, track.size is None) for track in tracks] == [
        ("no\\n.wav", True),
        ("rock/a\\b.wav", False),
        ("rock/b.wav", False),
    ]
    with pytest.raises(UserError, match=r"line 3: .* on line 2 already"):
        list_tracks(write_csv(music, "path,genre\nrock\\b.wav,rock\nrock/b.wav,rock\n"))


@pytest.mark.parametrize(("there", "listed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_path_in_another_form_of_unicode(tmp_path, there, listed):
    on_disk, in_csv = (unicodedata.normalize(form, "é/ö.wav") for form in (there, listed))
    touch(tmp_path, on_disk)
    (track,) = list_tracks(write_csv(tmp_path, f"path,genre\n{in_csv},rock\n"))
    assert (track.track_id, track.size) == (in_csv, 5 * len(on_disk.partition("/")[2]))
    assert os.path.exists(track.uri)  # noqa: PTH110


def test_what_is_no_track_is_counted_in_one_line(music, memory, capfd):
    touch(music, "rock/.DS_Store", "rock/cover.jpg", "rock/back.JPG", "rock/tune.mid")
    (music / "jazz" / "unnamed").write_bytes(b"OggS")
    for source, left_out in (
        (music, ["5 files", "2 .jpg", "1 hidden", "1 .txt", "1 .part"]),
        (f"{music}/*/*", ["4 f"]),
    ):
        found = ids(source)
        assert "jazz/unnamed" in found
        assert "rock/tune.mid" in found
        said = capfd.readouterr().err
        assert said.count("\n") == 1
        assert all(words in said for words in left_out), said


def test_of_a_store_nothing_is_read_to_list_it(memory, capfd):
    memory.write("memory://bucket/music/rock/a.wav", b"")
    memory.write("memory://bucket/music/rock/unnamed", b"OggS")
    memory.write("memory://bucket/music/rock/.hidden.wav", b"")
    assert ids("memory://bucket/music") == ["rock/a.wav"]
    said = capfd.readouterr().err
    assert "2 files" in said
    assert "1 hidden" in said
    assert "1 without an ending" in said


def test_a_csv_lists_what_it_lists(music, capfd):
    touch(music, "rock/cover.jpg")
    assert ids(write_csv(music, "path,genre\nrock/cover.jpg,rock\nrock/.x,rock\n")) == ["rock/.x", "rock/cover.jpg"]
    assert capfd.readouterr().err == ""


def test_equal_labels_and_groups_are_one_string(music):
    source = write_csv(music, "path,genre,artist\nrock/b.wav,rock,N N\njazz/a.wav,rock,N N\n")
    for one, other in (list_tracks(source), list_tracks(f"{music}/rock")):
        assert one.label is other.label
        assert one.group is (other.group if one.group == "N N" else one.track_id)


def labels(source, **options):
    return {track.track_id: track.label for track in list_tracks(str(source), **options)}


def test_the_label_can_be_the_first_folder_below_the_input(music):
    found = {"jazz/a.wav": "jazz", "jazz/deep/er/c.Mp3": "jazz", "rock/a.AU": "rock", "rock/b.wav": "rock"}
    for source in (music, f"{music}//", f"{music}/**/*"):
        assert labels(source, label_folder="top") == found
    assert labels(f"{music}/jazz/*/*/*.Mp3", label_folder="top") == {"deep/er/c.Mp3": "deep"}


def test_a_file_right_in_the_input_lies_in_no_first_folder(music):
    touch(music, "loose.wav")
    for source in (music, f"{music}/*.wav"):
        with pytest.raises(UserError, match=rf"^`label_folder=top`: {music}/loose.wav is in no folder below {music}$"):
            list_tracks(str(source), label_folder="top")


STRANGE = (
    "  two  spaces .wav",
    "new\nline.wav",
    "quo'te\".wav",
    "co,mma;.wav",
    "back\\slash.wav",
    "日本.wav",
    "-x.wav",
)


def test_strange_names_are_kept(tmp_path):
    touch(tmp_path, *(f"la bel\n'/{name}" for name in STRANGE))
    tracks = list_tracks(str(tmp_path))
    assert {track.track_id for track in tracks} == {f"la bel\n'/{name}" for name in STRANGE}
    assert {track.label for track in tracks} == {"la bel\n'"}
    assert all(open(track.uri, "rb").read() for track in tracks)  # noqa: PTH123, SIM115
    assert [track.track_id for track in list_tracks(f"{tmp_path}/*/*.wav")] == [track.track_id for track in tracks]


def test_the_same_name_in_two_folders(tmp_path):
    touch(tmp_path, "rock/1.wav", "jazz/1.wav", "jazz/live/1.wav")
    assert ids(tmp_path) == ["jazz/1.wav", "jazz/live/1.wav", "rock/1.wav"]


def test_one_name_in_two_forms_of_unicode_is_one_label_of_two_files(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Música/café.wav") for form in ("NFC", "NFD"))
    touch(tmp_path, composed, decomposed)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system takes both for one")
    assert labels(tmp_path) == {composed: "Música", decomposed: "Música"}
    assert labels(tmp_path, label_folder="top") == {composed: "Música", decomposed: "Música"}


def test_one_artist_in_two_forms_of_unicode_is_one_group(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Björk") for form in ("NFC", "NFD"))
    source = write_csv(tmp_path, f"path,genre,artist\na.wav,é,{composed}\nb.wav,e\u0301,{decomposed}\n")
    assert {(track.label, track.group) for track in list_tracks(source)} == {("é", composed)}


def test_a_linked_file_is_a_track_of_its_own(music, tmp_path):
    touch(tmp_path, "elsewhere/one.wav")
    (music / "rock" / "link.wav").symlink_to(tmp_path / "elsewhere" / "one.wav")
    (track,) = [track for track in list_tracks(str(music)) if track.track_id == "rock/link.wav"]
    assert (track.label, track.size) == ("rock", 5 * len("one.wav"))


def test_a_link_to_itself_is_listed_for_the_job_to_reject(music):
    (music / "rock" / "self.wav").symlink_to(music / "rock" / "self.wav")
    assert "rock/self.wav" in ids(music)


@pytest.fixture
def remote(memory):
    names = (
        "rock/b.wav",
        "rock/a.AU",
        "jazz/deep/er/c.Mp3",
        "blues/notes.txt",
        ".old/x.wav",
        "jazz/.hid/y.wav",
        "rock/.z.wav",
    )
    for name in names:
        memory.write(f"memory://bucket/music/{name}", b"sound" * len(name))
    return "memory://bucket/music"


def test_a_remote_folder_and_glob(remote):
    found = [("jazz/deep/er/c.Mp3", "er"), ("rock/a.AU", "rock"), ("rock/b.wav", "rock")]
    for source in (remote, f"{remote}/", f"{remote}/**"):
        assert [(track.track_id, track.label) for track in list_tracks(source)] == found
    assert [(track.track_id, track.size) for track in list_tracks(f"{remote}/rock/*.wav")] == [("b.wav", 50)]
    assert list_tracks(remote)[2].uri == f"{remote}/rock/b.wav"
    assert labels(remote, label_folder="top")["jazz/deep/er/c.Mp3"] == "jazz"


def test_a_remote_csv_has_sizes_from_one_listing(remote, memory):
    lines = [
        "path,genre",
        "rock/b.wav,rock",
        "jazz/gone.wav,jazz",
        f"{remote}/rock/a.AU,rock",
        "memory://other/o.wav,rock",
    ]
    memory.write(f"{remote}/tracks.csv", "\n".join(lines).encode())
    sizes = {track.uri.removeprefix("memory://"): track.size for track in list_tracks(f"{remote}/tracks.csv")}
    assert sizes == {
        "bucket/music/rock/b.wav": 50,
        "bucket/music/jazz/gone.wav": None,
        "bucket/music/rock/a.AU": 45,
        "other/o.wav": None,
    }
    assert memory.listed == ["music"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("memory://bucket/nothing", "no audio file in this folder"),
        ("memory://bucket/nothing/*.wav", "matches no audio file"),
        ("memory://bucket/nothing/tracks.csv", "cannot be read: No such file"),
        ("memory://nowhere/music", "cannot be listed: there is no bucket memory://nowhere; create it"),
        ("memory://nowhere/tracks.csv", "cannot be read: there is no bucket"),
        ("nosuch://bucket/music", "nosuch:// is not known"),
    ],
)
def test_nothing_there_remotely(memory, source, message):
    with pytest.raises(UserError, match=rf"^{re.escape(source)}.*: {message}") as info:
        list_tracks(source)
    assert "\n" not in str(info.value)


@pytest.fixture
def with_pipes(music, tmp_path):
    """The music, with pipes, devices and broken links that are named like audio, and others."""
    os.mkfifo(music / "rock" / "pipe.wav")
    os.mkfifo(music / "rock" / "pipe")
    (music / "rock" / "zero.mp3").symlink_to("/dev/zero")
    (music / "rock" / "gone.flac").symlink_to(tmp_path / "nowhere")
    return music


@pytest.mark.parametrize("pattern", ["", "/*/*", "/**"])
def test_what_is_named_like_audio_and_is_no_file_is_listed_for_the_job_to_reject(with_pipes, pattern, capfd):
    assert {"rock/pipe.wav", "rock/zero.mp3", "rock/gone.flac"} < set(ids(f"{with_pipes}{pattern}"))
    assert "1 unreadable" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["tracks.csv", "/dev/zero"])
def test_a_pipe_in_place_of_an_input_is_one_line(tmp_path, name):
    os.mkfifo(tmp_path / "tracks.csv")
    with pytest.raises(UserError, match=r"cannot be read: not a regular file|is a file; give its folder"):
        list_tracks(str(tmp_path / name))


def test_a_remote_csv_in_a_folder_named_like_a_glob(memory):
    memory.write("memory://bucket/set [1]/rock/b.wav", b"sound")
    memory.write("memory://bucket/set [1]/tracks.csv", b"path,genre\nrock/b.wav,rock\n")
    (track,) = list_tracks("memory://bucket/set [1]/tracks.csv")
    assert (track.uri, track.size) == ("memory://bucket/set [1]/rock/b.wav", 5)
