import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from beam_preprocess.gtzan.download import fetch
from beam_preprocess.gtzan.facts import genre_of
from tfrecords.common.command_line import UserError
from tfrecords.common.files import lock_directory


@pytest.fixture
def run(server, archive_bytes, tmp_path, retry):
    """Fetches from the server (or a source) into tmp_path/out; gives that."""
    server.files["/genres.tar.gz"] = archive_bytes
    output = tmp_path / "out"

    def call(source=None, mirrors=("/genres.tar.gz",), md5=None, limit=10**8):
        fetch(
            output,
            source=source,
            mirrors=[server.url(path) for path in mirrors],
            archive="genres.tar.gz",
            md5=md5 or hashlib.md5(archive_bytes).hexdigest(),
            max_archive_bytes=limit,
            retry=retry,
        )
        return output

    return call


@pytest.fixture(scope="module")
def fetched(tmp_path_factory, archive_bytes):
    """The directory that a fetch leaves. Read only."""
    output = tmp_path_factory.mktemp("gtzan") / "out"
    output.mkdir()
    (output / "genres.tar.gz").write_bytes(archive_bytes)
    md5 = hashlib.md5(archive_bytes).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        fetch(output, mirrors=(), archive="genres.tar.gz", md5=md5, max_archive_bytes=10**8)
    return output


@pytest.fixture
def output(fetched, tmp_path):
    """A directory as a fetch leaves it; its files are links to those of others, to be replaced, not written to."""
    return shutil.copytree(fetched, tmp_path / "out", copy_function=os.link)


def test_downloaded_unpacked_and_listed(run, server, clip_bytes, files_below, capfd):
    output = run()
    files = files_below(output)
    assert len(files) == 1002
    assert files["jazz/jazz.00054.wav"] == clip_bytes["jazz.00054"]
    assert files["tracks.csv"].count(b"\n") == 1001
    said = capfd.readouterr()
    assert "known fault: jazz.00054: its header cannot be read" in said.out
    assert "genres.tar.gz is no longer needed" in said.err


def test_a_second_run_does_nothing(run, server, output, capfd):
    (output / "genres.tar.gz").unlink()
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    run()
    assert server.asked == []
    assert capfd.readouterr().err == f"{output} holds GTZAN already: nothing to do\n"
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_what_killed_processes_left_is_removed(run, output):
    left = [output / folder / f".tmp-01234567-{folder}.wav" for folder in ("", "rock", "other")]
    (output / "other").mkdir()
    for path in left:
        path.touch()
    run()
    assert [path.exists() for path in left] == [False, False, True]


def test_one_clip_is_missing_later(run, server, output, clip_bytes):
    (output / "rock/rock.00000.wav").unlink()
    run()
    assert server.asked == []
    assert (output / "rock/rock.00000.wav").read_bytes() == clip_bytes["rock.00000"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rock/rock.00000.wav", r"clips are not readable: rock\.00000; delete these files and run"),
        ("rock/rock.00000.au", r"clips are there twice: rock\.00000; delete these files and run"),
    ],
)
def test_a_damaged_clip_is_named_before_anything_is_downloaded(run, server, output, name, message):
    (output / "genres.tar.gz").unlink()
    (output / name).unlink(missing_ok=True)
    (output / name).write_bytes(b"x")
    with pytest.raises(UserError, match=message):
        run()
    assert server.asked == []


def test_a_wrong_checksum_leaves_nothing(run, tmp_path):
    with pytest.raises(UserError, match="holds another file: md5") as info:
        run(md5="0" * 32)
    assert "\n" not in str(info.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["leads out", "bomb", "link"])
def test_a_hostile_archive_leaves_no_clip(run, server, make_archive, member_names, clip_bytes, tmp_path, kind):
    names, members = member_names(clip_bytes), []
    if kind == "leads out":
        names["../../evil.wav"] = b"x"
    else:
        info = tarfile.TarInfo("genres/blues")
        info.type, info.size = (tarfile.REGTYPE, 40_000_000) if kind == "bomb" else (tarfile.SYMTYPE, 0)
        members.append(info)
    server.files["/evil"] = evil = make_archive(names, *members)
    with pytest.raises(UserError, match=r"leads out|unpacks to more|holds links"):
        run(mirrors=["/evil"], md5=hashlib.md5(evil).hexdigest(), limit=20_000_000)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["genres.tar.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_an_archive_that_one_has(run, archive_bytes, tmp_path, capfd, server):
    (tmp_path / "mine.tgz").write_bytes(archive_bytes)
    output = run(source=tmp_path / "mine.tgz")
    assert server.asked == []
    assert "md5" not in capfd.readouterr().err
    assert (output / "tracks.csv").is_file()
    assert not (output / "genres.tar.gz").exists()


def test_the_content_of_an_unknown_archive_decides(run, archive_bytes, tmp_path, capfd):
    (tmp_path / "mine.tar.gz").write_bytes(archive_bytes)
    output = run(source=tmp_path / "mine.tar.gz", md5="0" * 32)
    assert "mine.tar.gz: md5 " in capfd.readouterr().err
    assert (output / "tracks.csv").is_file()


def test_a_folder_that_one_has(run, clip_bytes, tmp_path):
    for clip, content in clip_bytes.items():
        path = tmp_path / "genres_original" / genre_of(clip) / f"{clip}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert (run(source=tmp_path / "genres_original") / "rock/rock.00099.wav").is_file()


def test_a_folder_with_another_unreadable_clip(run, clip_bytes, tmp_path):
    for clip, content in clip_bytes.items():
        path = tmp_path / "mine" / genre_of(clip) / f"{clip}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no audio" if clip == "pop.00003" else content)
    with pytest.raises(UserError, match=r"mine: not the whole of GTZAN: 1 of 1000 clips are not readable: pop\.00003"):
        run(source=tmp_path / "mine")
    assert not (tmp_path / "out" / "tracks.csv").exists()


def test_sources_that_are_none(run, tmp_path):
    (tmp_path / "archive.zip").write_bytes(b"PK")
    (tmp_path / "pipe.tar").symlink_to("/dev/null")
    for name, message in (
        ("none", "no such file or folder"),
        ("archive.zip", "unpack others and give the folder"),
        ("pipe.tar", "cannot be read: not a regular file"),
    ):
        with pytest.raises(UserError, match=f"{name}:? .*{message}"):
            run(source=tmp_path / name)
    assert not (tmp_path / "out").exists()


def test_killed_while_it_unpacks_it_goes_on(run, archive_bytes, clip_bytes, tmp_path, files_below):
    (tmp_path / "mine.tar.gz").write_bytes(archive_bytes)
    output = tmp_path / "out"
    # So slow after a while that the kill comes in the middle.
    code = f"""
import pathlib, time
from beam_preprocess.gtzan import fetch, unpack
write = unpack._write
def slowly(*args):
    write(*args)
    time.sleep(600 if pathlib.Path({str(output / "blues" / "blues.00030.wav")!r}).exists() else 0)
unpack._write = slowly
fetch.fetch(pathlib.Path({str(output)!r}), source=pathlib.Path({str(tmp_path / "mine.tar.gz")!r}),
            mirrors=(), archive="a", md5="", max_archive_bytes=10**8)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (output / "blues" / "blues.00020.wav").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    torn = files_below(output)
    assert 20 < len(torn) < 1000
    assert "tracks.csv" not in torn
    whole = {f"{genre_of(clip)}/{clip}.wav": content for clip, content in clip_bytes.items()}
    assert all(whole[name] == content for name, content in torn.items() if "/.tmp-" not in name)
    run(source=tmp_path / "mine.tar.gz")
    assert files_below(output).keys() == {*whole, "tracks.csv"}
    assert whole.items() <= files_below(output).items()


def test_one_at_a_time_writes_to_a_directory(run, tmp_path, server):
    (tmp_path / "out").mkdir()
    with (
        lock_directory(tmp_path / "out", "fetching GTZAN"),
        pytest.raises(UserError, match="another process is fetching"),
    ):
        run()
    assert server.asked == [] and list((tmp_path / "out").iterdir()) == []
