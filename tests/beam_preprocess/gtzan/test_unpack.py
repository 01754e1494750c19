import errno
import os
import tarfile

import pytest

from beam_preprocess.gtzan import unpack
from beam_preprocess.gtzan.facts import genre_of
from beam_preprocess.gtzan.unpack import copy_folder, describe, unpack_archive, verify
from tfrecords.common.command_line import UserError

LIMIT = 10**8


@pytest.fixture
def write(tmp_path):
    """Writes an archive; gives its path."""

    def make(data, name="genres.tar.gz"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return make


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


def special(name, kind, size=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, "/etc/passwd", size
    return info


def expected(clip_bytes, extension=".wav"):
    return {f"{genre_of(clip)}/{clip}{extension}": content for clip, content in clip_bytes.items()}


def test_an_archive(write, archive_bytes, clip_bytes, output, files_below, capfd):
    unpack_archive(write(archive_bytes), output, max_bytes=LIMIT)
    assert files_below(output) == expected(clip_bytes)
    assert "unpacking 1000 of 1000 clips" in capfd.readouterr().err


def test_other_layouts_and_extensions(write, make_archive, member_names, clip_bytes, output, files_below):
    names = member_names(clip_bytes, folder="./Data/genres_original", extension=".AU")
    unpack_archive(write(make_archive(names)), output, max_bytes=LIMIT)
    assert files_below(output) == expected(clip_bytes, ".au")


def test_clips_that_are_there_are_kept(write, archive_bytes, clip_bytes, output, files_below, capfd):
    archive = write(archive_bytes)
    unpack_archive(archive, output, max_bytes=LIMIT)
    before = (output / "rock/rock.00001.wav").stat().st_mtime_ns
    (output / "blues/blues.00000.wav").unlink()
    (output / "blues/blues.00001.wav").write_bytes(b"torn")
    capfd.readouterr()
    unpack_archive(archive, output, max_bytes=LIMIT)
    assert "unpacking 2 of 1000 clips" in capfd.readouterr().err
    assert files_below(output) == expected(clip_bytes)
    assert (output / "rock/rock.00001.wav").stat().st_mtime_ns == before
    unpack_archive(archive, output, max_bytes=LIMIT)
    assert "unpacking" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["../blues/blues.00000.wav", "genres/../../x", "/etc/blues/blues.00000.wav"])
def test_a_path_that_leads_out(write, make_archive, member_names, clip_bytes, output, tmp_path, name):
    archive = write(make_archive({**member_names(clip_bytes), name: b"x"}))
    with pytest.raises(UserError, match="leads out of the archive; nothing is unpacked"):
        unpack_archive(archive, output, max_bytes=LIMIT)
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(write, make_archive, member_names, clip_bytes, output, kind):
    archive = write(make_archive(member_names(clip_bytes), special("genres/blues", kind)))
    with pytest.raises(UserError, match=r"holds links or devices \(genres/blues\); nothing is unpacked"):
        unpack_archive(archive, output, max_bytes=LIMIT)
    assert not output.exists()


def test_a_bomb(write, make_archive, member_names, clip_bytes, output):
    bomb = write(make_archive(member_names(clip_bytes), special("genres/zeros", tarfile.REGTYPE, 50_000_000)))
    assert bomb.stat().st_size < 5_000_000
    with pytest.raises(UserError, match=r"unpacks to more than `max_archive_bytes=20000000`$"):
        unpack_archive(bomb, output, max_bytes=20_000_000)
    assert not output.exists()


def test_a_torn_archive(write, archive_bytes, output):
    with pytest.raises(UserError, match="not a whole"):
        unpack_archive(write(archive_bytes[: len(archive_bytes) // 2]), output, max_bytes=LIMIT)
    assert not output.exists()


def test_too_few_clips(write, make_archive, member_names, clip_bytes, output):
    some = {clip: content for clip, content in clip_bytes.items() if clip != "rock.00007"}
    with pytest.raises(UserError, match=r"not the whole of GTZAN: 1 clips are not in it \(rock\.00007\)"):
        unpack_archive(write(make_archive(member_names(some))), output, max_bytes=LIMIT)
    with pytest.raises(UserError, match="no clip of GTZAN in it"):
        unpack_archive(write(make_archive({"music/a.wav": b""})), output, max_bytes=LIMIT)
    assert not output.exists()


def test_a_copy_without_the_clip_that_cannot_be_decoded(write, make_archive, member_names, clip_bytes, output):
    some = {clip: content for clip, content in clip_bytes.items() if clip != "jazz.00054"}
    unpack_archive(write(make_archive(member_names(some))), output, max_bytes=LIMIT)
    assert not (output / "jazz/jazz.00054.wav").exists()


def test_a_clip_twice(write, make_archive, member_names, clip_bytes, output, tmp_path):
    names = {**member_names(clip_bytes), "more/blues/blues.00000.wav": b""}
    with pytest.raises(UserError, match=r"holds blues/blues\.00000\.wav twice; nothing is unpacked"):
        unpack_archive(write(make_archive(names)), output, max_bytes=LIMIT)
    for name, content in expected(clip_bytes).items():
        for folder in ("a", "b"):
            path = tmp_path / "both" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    with pytest.raises(UserError, match=r"twice: .*both/a/blues.* and .*both/b/blues.*; name the folder of one"):
        copy_folder(tmp_path / "both", output)
    assert not output.exists()


@pytest.fixture
def folder(tmp_path, clip_bytes):
    """The popular copy's layout, with files that are no clips."""
    for name, content in {**expected(clip_bytes), "blues/notes.txt": b"x"}.items():
        path = tmp_path / "Data" / "genres_original" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "Data"


def test_a_folder(folder, clip_bytes, output, files_below, capfd):
    copy_folder(folder, output)
    assert files_below(output) == expected(clip_bytes)
    (output / "rock/rock.00001.wav").unlink()
    copy_folder(folder, output)
    assert "copying 1 of 1000 clips" in capfd.readouterr().err


def test_a_folder_around_the_output_and_one_that_is_the_output(folder, clip_bytes, files_below):
    output = folder / "gtzan"
    copy_folder(folder, output)
    (output / "rock/rock.00001.wav").unlink()
    copy_folder(folder, output)
    assert files_below(output) == expected(clip_bytes)
    copy_folder(output, output)
    assert files_below(output) == expected(clip_bytes)


def test_a_clip_appears_when_it_is_whole(folder, output, files_below, monkeypatch):
    monkeypatch.setattr(unpack, "_read", lambda path: iter([b"half", 1 / 0] if "00003" in path.name else [b"half"]))
    with pytest.raises(ZeroDivisionError):
        copy_folder(folder, output)
    assert files_below(output).keys() == {f"blues/blues.0000{number}.wav" for number in range(3)}


def test_an_output_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/blues/blues.00000.wav cannot be written: Not a directory$"):
        copy_folder(folder, tmp_path / "file")


def test_a_clip_has_its_name_when_it_is_on_the_disk(folder, output, files_below, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"blues/blues.00000.wav cannot be written: No space left on device$"):
        copy_folder(folder, output)
    assert not files_below(output)


def test_clips_are_forced_to_the_disk_one_by_one_and_folders_once(folder, output, monkeypatch):
    synced = []
    monkeypatch.setattr(unpack, "_sync", lambda path: synced.append(path.is_dir()))
    copy_folder(folder, output)
    assert synced == [False] * 1000 + [True] * 10


def test_a_folder_that_cannot_be_forced_to_the_disk(folder, output, monkeypatch):
    def full(path):
        if path.is_dir():
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpack, "_sync", full)
    with pytest.raises(UserError, match=r"blues cannot be written: No space left on device$"):
        copy_folder(folder, output)


def test_a_clip_that_is_no_file(folder, output):
    clip = folder / "genres_original" / "blues" / "blues.00000.wav"
    clip.unlink()
    clip.symlink_to("/dev/null")
    with pytest.raises(UserError, match=r"blues.00000.wav cannot be read: not a regular file$"):
        copy_folder(folder, output)


@pytest.fixture
def whole(tmp_path, clip_bytes):
    for clip, content in clip_bytes.items():
        path = tmp_path / genre_of(clip) / f"{clip}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def test_the_whole_set_with_its_known_faults(whole):
    clips = verify(whole)
    assert clips.problem is None
    assert clips.unreadable == ("jazz.00054",)
    assert len(clips.files) == 1000
    assert clips.files["rock.00099"] == "rock/rock.00099.wav"
    lines = list(describe(clips))
    assert lines[0].startswith("1000 clips, 10 genres x 100; artists are known of 983")
    assert "known fault: jazz.00054: its header cannot be read; cannot be decoded in the popular .wav copy" in lines[2]
    assert any(line.startswith("known fault: reggae.00086: in none of the filtered lists") for line in lines)
    assert any(line.startswith("known fault: metal.00058: the song of rock.00016") for line in lines)


def test_what_keeps_it_from_being_whole(whole):
    (whole / "blues/blues.00007.wav").write_bytes(b"RIFF")
    assert verify(whole).problem == "1 of 1000 clips are not readable: blues.00007"
    (whole / "blues/blues.00008.au").write_bytes(b"")
    assert verify(whole).problem == "1 of 1000 clips are there twice: blues.00008"
    (whole / "rock/rock.00000.wav").unlink()
    assert verify(whole).problem == "1 of 1000 clips are missing: rock.00000"


def test_one_that_cannot_be_decoded_may_be_missing(whole):
    (whole / "jazz/jazz.00054.wav").unlink()
    clips = verify(whole)
    assert clips.problem is None
    assert next(describe(clips)).startswith("999 clips")
    assert any("jazz.00054: not in this copy" in line for line in describe(clips))


def test_nothing_there(tmp_path):
    assert "999 of 1000 clips are missing: blues.00000, " in verify(tmp_path / "none").problem


def test_a_folder_whose_name_is_not_utf8(tmp_path, clip_bytes):
    path = tmp_path / "gtz\udce4n" / "blues" / "blues.00000.wav"
    path.parent.mkdir(parents=True)
    path.write_bytes(clip_bytes["blues.00000"])
    clips = verify(path.parents[1])
    assert (clips.files, clips.unreadable) == ({"blues.00000": "blues/blues.00000.wav"}, ())
