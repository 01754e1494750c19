import gzip
import io
import re
import tarfile

import pytest

from beam_preprocess import storage
from beam_preprocess.inputs.archive import is_archive, list_archive, unpack
from tfrecords.common.command_line import UserError

NAMES = ("genres/rock/a.wav", "genres/rock/b.AU", "genres/jazz/deep/c.mp3")


@pytest.fixture
def make_archive(tmp_path):
    """Writes an archive of (name or TarInfo, content) pairs; a name alone is its own content."""

    def make(*members, name="set.tar.gz", fmt=tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w", format=fmt) as archive:
            for member in members:
                info, data = (
                    member if isinstance(member, tuple) else (member, member.encode("utf-8", "surrogateescape"))
                )
                info = tarfile.TarInfo(info) if isinstance(info, str) else info
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return tmp_path / name

    return make


@pytest.fixture
def config_of(tmp_path, job_config):
    def make(source, **changes):
        return job_config(source, tmp_path / "out", **changes)

    return make


def ids(config):
    return [track.track_id for track in list_archive(config)]


def special(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info, b""


def contents_of(tracks):
    found = {}
    for track in tracks:
        with storage.open_file(track.uri) as file:
            found[track.track_id] = file.read()
    return found


def test_what_is_an_archive(tmp_path):
    assert all(map(is_archive, ("a.tar", "/x/A.TAR.GZ", "gs://b/c.tgz", "no [set].tar")))
    assert not any(map(is_archive, ("a.gz", "a.zip", "tar", "a.tar.bz2", "tracks.csv", "folder")))
    (tmp_path / "folder.tar").mkdir()
    assert not is_archive(f"{tmp_path}/folder.tar")


@pytest.mark.parametrize("name", ["set.tar.gz", "SET.TGZ", "set.tar"])
def test_listed_and_unpacked(make_archive, config_of, name, capfd):
    config = config_of(make_archive("genres/readme.txt", *NAMES, name=name))
    tracks = list_archive(config)
    assert [(track.track_id, track.label, track.group, track.size) for track in tracks] == [
        ("jazz/deep/c.mp3", "deep", "jazz/deep/c.mp3", 22),
        ("rock/a.wav", "rock", "rock/a.wav", 17),
        ("rock/b.AU", "rock", "rock/b.AU", 16),
    ]
    assert tracks[1].origin == f"{config.source}/genres/rock/a.wav"
    assert not (storage.local_path(config.output)).exists()
    unpack(config, tracks)
    assert contents_of(tracks) == {name.removeprefix("genres/"): name.encode() for name in NAMES}
    files = [path for path in storage.local_path(config.output).rglob("*") if path.is_file()]
    assert len(files) == 3
    assert all(path.is_relative_to(f"{config.output}/.partial/unpacked") for path in files)
    assert "unpacking 3 of 3 files" in capfd.readouterr().err


def test_a_plain_archive_by_the_name_of_a_compressed_one(make_archive, config_of, tmp_path):
    make_archive(*NAMES, name="set.tar").rename(tmp_path / "set.tar.gz")
    assert len(ids(config_of(tmp_path / "set.tar.gz"))) == 3


def test_two_compressed_streams_end_to_end(make_archive, config_of, tmp_path):
    data = make_archive(*NAMES, name="set.tar").read_bytes()
    (tmp_path / "set.tgz").write_bytes(gzip.compress(data[:700]) + gzip.compress(data[700:]))
    assert len(ids(config_of(tmp_path / "set.tgz"))) == 3


def test_paths_start_below_the_one_top_folder(make_archive, config_of):
    assert ids(config_of(make_archive("./g/rock/a.wav", ".//g/./jazz/b.wav", "readme"))) == ["jazz/b.wav", "rock/a.wav"]
    two = config_of(make_archive("rock/a.wav", "jazz/b.wav", name="two.tar"))
    assert ids(two) == ["jazz/b.wav", "rock/a.wav"]
    loose = list_archive(config_of(make_archive("rock/a.wav", "b.wav", name="loose.tar")))
    assert [(track.track_id, track.label) for track in loose] == [("b.wav", "loose"), ("rock/a.wav", "rock")]


def test_labels_by_the_top_folder(make_archive, config_of):
    config = config_of(make_archive("g/rock/x/a.wav", "g/jazz/x/a.wav"), label_folder="top")
    assert [track.label for track in list_archive(config)] == ["jazz", "rock"]
    with pytest.raises(UserError, match=r"`label_folder=top`: two/a\.wav is in no folder below two"):
        list_archive(config_of(make_archive("a.wav", "jazz/x/a.wav", name="two.tar"), label_folder="top"))


def test_hidden_files_are_no_tracks(make_archive, config_of):
    config = config_of(
        make_archive(*NAMES, "genres/rock/._a.wav", "._genres", "genres/.Trash/x.wav", "__MACOSX/._a.au")
    )
    assert len(ids(config)) == 3


def test_links_and_devices_are_left_out_and_counted(make_archive, config_of, capfd):
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    links = [special(f"genres/rock/{index}.wav", kind) for index, kind in enumerate(kinds)]
    config = config_of(make_archive(special("genres/rock", tarfile.DIRTYPE), *links, *NAMES))
    tracks = list_archive(config)
    assert "set.tar.gz: 5 links or devices are left out" in capfd.readouterr().err
    unpack(config, tracks)
    assert contents_of(tracks).keys() == {name.removeprefix("genres/") for name in NAMES}


@pytest.mark.parametrize("name", ["../a.wav", "genres/../../a.wav", "/etc/a.wav", "genres/..", "//a.txt"])
def test_a_path_that_leads_out(make_archive, config_of, tmp_path, name):
    config = config_of(make_archive(*NAMES, (name, b"x")))
    with pytest.raises(
        UserError, match=rf"set\.tar\.gz: the path '{re.escape(name)}' leads out of the archive"
    ) as info:
        list_archive(config)
    assert "\n" not in str(info.value)
    assert [path.name for path in tmp_path.iterdir()] == ["set.tar.gz"]


STRANGE = (
    "é/e\u0301.wav", "é/é.wav", "日 本/ two  spaces .wav", "q'\"/new\nline.wav", "q'\"/caf\udce9.wav", "Rock/a.wav",
    "rock/a.wav", "rock/A.wav", f"rock/{'long ' * 60}.wav", "[x]*?/[y].wav", "rock/a.wav/b.wav",
)  # fmt: skip


@pytest.mark.parametrize("fmt", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_strange_names(make_archive, config_of, fmt):
    config = config_of(make_archive(*STRANGE, fmt=fmt))
    tracks = list_archive(config)
    unpack(config, tracks)
    assert contents_of(tracks) == {name: name.encode("utf-8", "surrogateescape") for name in STRANGE}


def test_the_last_of_two_with_one_path_wins(make_archive, config_of):
    config = config_of(make_archive(("g/rock/a.wav", b"old"), "g/jazz/b.wav", ("g/./rock/a.wav", b"new")))
    tracks = list_archive(config)
    unpack(config, tracks)
    assert contents_of(tracks)["rock/a.wav"] == b"new"


def test_an_interrupted_unpacking_goes_on(make_archive, config_of, capfd, monkeypatch):
    config = config_of(make_archive(*NAMES))
    tracks = list_archive(config)
    unpack(config, tracks)
    paths = {track.track_id: storage.local_path(track.uri) for track in tracks}
    paths["rock/a.wav"].unlink()
    paths["rock/b.AU"].write_bytes(b"torn")
    before = paths["jazz/deep/c.mp3"].stat().st_mtime_ns
    capfd.readouterr()
    unpack(config, tracks)
    assert "unpacking 2 of 3 files" in capfd.readouterr().err
    assert paths["jazz/deep/c.mp3"].stat().st_mtime_ns == before
    assert contents_of(tracks)["rock/b.AU"] == b"genres/rock/b.AU"
    # Nothing is left to do, and the archive need not be there.
    storage.local_path(config.source).unlink()
    unpack(config, tracks)
    assert capfd.readouterr().err == ""


def test_a_file_appears_when_it_is_whole(make_archive, config_of, monkeypatch):
    config = config_of(make_archive(*NAMES))
    tracks = list_archive(config)
    monkeypatch.setattr(tarfile.ExFileObject, "read", lambda self, size: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        unpack(config, tracks)
    assert not [path for path in storage.local_path(config.output).rglob("*") if path.is_file()]


def test_another_version_of_an_archive_is_unpacked_anew(make_archive, config_of):
    config = config_of(make_archive(*NAMES))
    before = list_archive(config)
    unpack(config, before)
    make_archive(*NAMES, ("genres/rock/d.wav", b"more" * 1000))
    with pytest.raises(UserError, match=r"set\.tar\.gz: changed while it was read; run the command again"):
        storage.delete([before[0].uri])
        make_archive(("genres/x.wav", b"other"))
        unpack(config, before)
    after = list_archive(config)
    assert {track.uri for track in before}.isdisjoint(track.uri for track in after)


def test_an_archive_that_unpacks_to_too_much(make_archive, config_of):
    bomb = make_archive(*NAMES, ("genres/zeros.bin", bytes(10_000_000)))
    assert bomb.stat().st_size < 20_000
    with pytest.raises(UserError, match=r"set\.tar\.gz: unpacks to more than `max_archive_bytes=1000000`$"):
        list_archive(config_of(bomb, max_archive_bytes=1_000_000))
    assert len(ids(config_of(bomb, max_archive_bytes=11_000_000))) == 3


def test_what_follows_the_end_mark_counts_too(make_archive, config_of, tmp_path):
    data = make_archive(*NAMES, name="set.tar").read_bytes()
    (tmp_path / "set.tgz").write_bytes(gzip.compress(data + bytes(10_000_000)))
    with pytest.raises(UserError, match="unpacks to more than"):
        list_archive(config_of(tmp_path / "set.tgz", max_archive_bytes=1_000_000))


def test_a_header_that_would_fill_the_memory(make_archive, config_of):
    info = tarfile.TarInfo("long")
    info.type = tarfile.GNUTYPE_LONGNAME
    with pytest.raises(UserError, match=r"not a whole \.tar or \.tar\.gz: a header of 5000000 bytes"):
        list_archive(config_of(make_archive((info, b"x" * 5_000_000), "genres/a.wav")))


@pytest.mark.parametrize("name", ["set.tar.gz", "set.tar"])
def test_a_torn_archive(make_archive, config_of, name):
    path = make_archive(*((f"g/rock/{index}.wav", bytes(range(256)) * 8) for index in range(5)), name=name)
    whole = path.read_bytes()
    # Between two members, tarfile itself takes what is there for the whole.
    ends = range(0, 5 * 2560 + 512, 512) if name == "set.tar" else range(0, len(whole), 17)
    for end in ends:
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match=rf"{name}: not a whole \.tar or \.tar\.gz: ") as info:
            list_archive(config_of(path))
        assert "\n" not in str(info.value)


@pytest.mark.parametrize("data", [b"", b"x", b"text\n" * 1000, b"\x1f\x8b", b"\x1f\x8b" + b"x" * 100, bytes(100)])
def test_something_else_by_the_name_of_an_archive(config_of, tmp_path, data):
    (tmp_path / "set.tar.gz").write_bytes(data)
    with pytest.raises(UserError, match=r"set\.tar\.gz: not a whole \.tar or \.tar\.gz: "):
        list_archive(config_of(tmp_path / "set.tar.gz"))


def test_one_wrong_bit(make_archive, config_of):
    path = make_archive(*((f"g/rock/{index}.wav", bytes(range(256)) * 8) for index in range(5)))
    whole = path.read_bytes()
    for position in range(20, len(whole), 29):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(UserError, match=r"not a whole|leads out"):
            list_archive(config_of(path))


def test_a_chain_of_headers(make_archive, config_of):
    info = tarfile.TarInfo("x")
    info.type = tarfile.GNUTYPE_LONGNAME
    with pytest.raises(UserError, match="not a whole"):
        list_archive(config_of(make_archive(*[(info, b"name")] * 2000, name="set.tar")))


def test_a_number_in_a_header_that_is_none(make_archive, config_of):
    info = tarfile.TarInfo("rock/a.wav")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    with pytest.raises(UserError, match="not a whole"):
        list_archive(config_of(make_archive((info, b"x\n" * 512), name="set.tar")))


@pytest.mark.parametrize("members", [(), ("readme.txt", "rock/notes.md")])
def test_no_audio(make_archive, config_of, members):
    with pytest.raises(UserError, match=r"set\.tar: no audio file in this archive.*\.wav"):
        list_archive(config_of(make_archive(*members, name="set.tar")))


def test_each_member_is_a_track_or_counted(make_archive, config_of, capfd):
    members = (
        "g/rock/a.wav",
        "g/rock/b.mid",
        ("g/rock/c", b"OggS" + bytes(3000)),
        "g/rock/d.jpg",
        "g/rock/._a.wav",
        "g/e",
    )
    config = config_of(make_archive(*members))
    tracks = list_archive(config)
    assert [track.track_id for track in tracks] == ["rock/a.wav", "rock/b.mid", "rock/c"]
    said = capfd.readouterr().err
    assert all(words in said for words in ("3 files", "1 .jpg", "1 hidden", "1 without an ending")), said
    unpack(config, tracks)
    assert contents_of(tracks)["rock/c"] == b"OggS" + bytes(3000)


def test_a_relative_output(make_archive, tmp_path, job_config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = job_config(make_archive(*NAMES), "out")
    tracks = list_archive(config)
    unpack(config, tracks)
    monkeypatch.chdir("/")
    assert contents_of(tracks)["rock/a.wav"] == b"genres/rock/a.wav"


def test_no_archive(config_of, tmp_path):
    with pytest.raises(UserError, match=r"none\.tar: cannot be read: "):
        list_archive(config_of(tmp_path / "none.tar"))


def test_an_output_that_cannot_be_written(make_archive, config_of, tmp_path):
    config = config_of(make_archive(*NAMES))
    tracks = list_archive(config)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match=r"^.*/out cannot be used: .*[Nn]ot a directory"):
        unpack(config, tracks)
