import hashlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time

import pytest

from beam_preprocess.gtzan import download as module
from beam_preprocess.gtzan.download import RetryPolicy, download, fetch, md5_of
from beam_preprocess.gtzan.facts import genre_of
from tfrecords.common.command_line import UserError
from tfrecords.common.files import lock_directory

BODY = bytes(range(256)) * 4000
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def fetched_bytes(server, tmp_path, retry):
    """Downloads from paths of the server; gives what is in the directory after it."""

    def run(*paths, **changes):
        urls = [server.url(path) for path in paths]
        download(urls, tmp_path / "set.tar.gz", **{"md5": MD5, "retry": retry} | changes)
        return (tmp_path / "set.tar.gz").read_bytes()

    return run


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_download(fetched_bytes, server, tmp_path, capfd):
    server.files["/a"] = BODY
    assert fetched_bytes("/a") == BODY
    assert left(tmp_path) == ["set.tar.gz"]
    assert capfd.readouterr().err == f"{server.url('/a')}: downloading\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar_until_the_download_ends(fetched_bytes, server, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(module, "_TERMINAL_EVERY_S", 0)
    (tmp_path / "set.tar.gz.part").write_bytes(BODY[: len(BODY) // 4])
    server.files["/a"] = BODY
    fetched_bytes("/a")
    shown = sys.stderr.getvalue().split("\r")
    percents = [int(percent) for percent in re.findall(r"set\.tar\.gz: +(\d+)%", "".join(shown))]
    assert percents[0] == 25 and percents[-1] > 25
    # Erased, and no line of it stays.
    assert shown[-1] == "" and not shown[-2].strip()
    assert sys.stderr.getvalue().count("\n") == 1


def test_a_log_shows_how_far_a_long_download_is(fetched_bytes, server, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(module, "_LOG_EVERY_S", 1e-9)
    server.files["/a"] = BODY
    fetched_bytes("/a")
    first, *lines = sys.stderr.getvalue().splitlines()
    assert first.endswith(": downloading")
    assert lines[-1] == "set.tar.gz: 1,024,000 of 1,024,000 bytes"
    assert all(re.fullmatch(r"set\.tar\.gz: [\d,]+ of 1,024,000 bytes", line) for line in lines)
    assert "\r" not in sys.stderr.getvalue()


def test_the_directory_is_made(server, tmp_path, retry):
    server.files["/a"] = BODY
    download([server.url("/a")], tmp_path / "new" / "deep" / "set", md5=MD5, retry=retry)
    assert (tmp_path / "new" / "deep" / "set").read_bytes() == BODY


def test_one_that_is_there_is_checked_only(fetched_bytes, server, tmp_path):
    (tmp_path / "set.tar.gz").write_bytes(BODY)
    assert fetched_bytes("/a") == BODY
    (tmp_path / "set.tar.gz").write_bytes(b"mine")
    with pytest.raises(UserError, match=f"its md5 is .*, that of the published archive is {MD5}; delete or move it"):
        fetched_bytes("/a")
    assert server.asked == []


def test_dropped_connections_go_on_where_they_ended(fetched_bytes, server, whole_way, naps):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda *args: whole_way(*args, limit=200_000)
    assert fetched_bytes("/a") == BODY
    assert [begin for _, begin in server.asked] == [None, *range(200_000, 1_024_000, 200_000)]
    # Each attempt brought something, so none of them counts as a further failure.
    assert naps == [1.0] * 5


def test_a_server_that_brings_nothing_new_is_given_up(fetched_bytes, server, whole_way, naps, tmp_path):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda *args: whole_way(*args, limit=0)
    with pytest.raises(UserError, match=r"the connection ended after 0 of 1,024,000 bytes, 3 times; give `mirror=URL`"):
        fetched_bytes("/a")
    assert naps == [1.0, 2.0]
    assert left(tmp_path) in ([], ["set.tar.gz.part"])


def test_a_server_that_ignores_the_range_starts_over(fetched_bytes, server, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(b"x" * 5000)
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, body, begin: (handler.answer(200, len(body)), handler.wfile.write(body))
    assert fetched_bytes("/a") == BODY
    assert server.asked == [("/a", 5000)]


def test_a_server_that_ignores_the_range_and_always_drops_is_given_up(fetched_bytes, server, whole_way):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, body, begin: whole_way(handler, body, None, limit=100_000)
    with pytest.raises(UserError, match="ended after 100,000 of 1,024,000 bytes, 3 times"):
        fetched_bytes("/a")
    assert len(server.asked) == 3


def test_what_an_earlier_run_left_is_used(fetched_bytes, server, tmp_path, capfd):
    (tmp_path / "set.tar.gz.part").write_bytes(BODY[:300_000])
    server.files["/a"] = BODY
    assert fetched_bytes("/a") == BODY
    assert server.asked == [("/a", 300_000)]
    assert "resuming after 300,000 bytes" in capfd.readouterr().err


def test_what_is_whole_already_needs_no_byte(fetched_bytes, server, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(BODY)
    server.files["/a"] = BODY
    assert fetched_bytes("/a") == BODY


@pytest.mark.parametrize("part", [b"y" * 300_000, BODY + b"more"], ids=["another file's", "too long"])
def test_what_was_there_does_not_fit(fetched_bytes, server, tmp_path, capfd, part):
    (tmp_path / "set.tar.gz.part").write_bytes(part)
    server.files["/a"] = BODY
    assert fetched_bytes("/a") == BODY
    assert [begin for _, begin in server.asked] == [len(part), None]
    assert "do not belong to this file" in capfd.readouterr().err


@pytest.mark.parametrize("error", [-1000, 1000])
def test_a_server_that_lies_about_the_length(fetched_bytes, server, tmp_path, error):
    def lie(handler, body, begin):
        if begin is not None and begin >= len(body):
            handler.answer(416, 0)
        else:
            handler.answer(200, len(body) + error)
            handler.wfile.write(body)

    server.files |= {"/lies": BODY, "/a": BODY}
    server.ways["/lies"] = lie
    assert fetched_bytes("/lies", "/a") == BODY
    assert left(tmp_path) == ["set.tar.gz"]


def test_a_length_that_nobody_says(fetched_bytes, server):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, body, begin: (handler.answer(200), handler.wfile.write(body))
    assert fetched_bytes("/a") == BODY


def test_a_wrong_checksum_is_refused_in_one_line(fetched_bytes, server, tmp_path):
    server.files["/a"] = BODY[:-1] + b"!"
    with pytest.raises(UserError, match=rf"/a: holds another file: md5 [0-9a-f]{{32}} instead of {MD5}; give") as info:
        fetched_bytes("/a")
    assert "\n" not in str(info.value)
    assert left(tmp_path) == []
    assert len(server.asked) == 1


def test_another_mirror_is_asked_after_a_bad_one(fetched_bytes, server, capfd):
    server.files |= {"/wrong": b"something else", "/good": BODY}
    assert fetched_bytes("/none", "/wrong", "/good") == BODY
    assert [path for path, _ in server.asked] == ["/none", "/wrong", "/good"]


def test_two_mirrors_share_what_has_come(fetched_bytes, server, whole_way):
    server.files |= {"/a": BODY, "/b": BODY}
    server.ways["/a"] = lambda handler, body, begin: (
        whole_way(handler, body, begin, limit=100_000) if begin is None else handler.send_error(404)
    )
    assert fetched_bytes("/a", "/b") == BODY
    assert server.asked == [("/a", None), ("/a", 100_000), ("/b", 100_000)]


def test_every_mirror_is_named_when_none_gives_it(fetched_bytes, server):
    server.files["/wrong"] = b""
    with pytest.raises(UserError, match=r"cannot be downloaded: .*/none: 404 .*; .*/wrong: holds another file"):
        fetched_bytes("/none", "/wrong")


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (410, 1), (500, 3), (503, 3), (429, 3)])
def test_which_answers_are_worth_another_try(fetched_bytes, server, naps, status, tries):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, body, begin: handler.send_error(status)
    with pytest.raises(UserError, match=f"/a: {status} "):
        fetched_bytes("/a")
    assert len(server.asked) == tries
    assert naps == [1.0, 2.0][: tries - 1]


def test_a_server_that_recovers(fetched_bytes, server, whole_way):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, *rest: (
        handler.send_error(500) if len(server.asked) < 3 else whole_way(handler, *rest)
    )
    assert fetched_bytes("/a") == BODY


def test_another_range_than_asked_for(fetched_bytes, server, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(BODY[:1000])
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, body, begin: (
        handler.answer(206, 10, Content_Range="bytes 5-14/1024000"),
        handler.wfile.write(body[5:15]),
    )
    with pytest.raises(UserError, match="sends another range than the one asked for"):
        fetched_bytes("/a")
    assert (tmp_path / "set.tar.gz.part").read_bytes() == BODY[:1000]


def test_more_than_the_disk_should_take(fetched_bytes, server, tmp_path):
    server.files["/a"] = BODY
    with pytest.raises(UserError, match="sends more than 500,000 bytes"):
        fetched_bytes("/a", retry=RetryPolicy(max_bytes=500_000))
    assert left(tmp_path) == []


def test_a_silent_server(fetched_bytes, server):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda *args: time.sleep(1)
    with pytest.raises(UserError, match="timed out, 1 times"):
        fetched_bytes("/a", retry=RetryPolicy(attempts=1, timeout_s=0.1))


def test_nobody_listens(tmp_path, retry):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="Connection refused, 3 times"):
        download([f"http://127.0.0.1:{port}/a"], tmp_path / "a", md5=MD5, retry=retry)


@pytest.mark.parametrize(
    "url", ["", "genres.tar.gz", "file:///etc/passwd", "ftp://x/y", "http://", "http://a b/", "http://[", "http://é/"]
)
def test_addresses_that_are_none(tmp_path, url):
    with pytest.raises(UserError, match="`mirror` must be an address that begins with https:// or http://, got"):
        download(["http://127.0.0.1/a", url], tmp_path / "a", md5=MD5)


def test_a_disk_that_cannot_be_written(server, tmp_path, retry):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file cannot be written: "):
        download([server.url("/a")], tmp_path / "file" / "a", md5=MD5, retry=retry)
    server.files["/a"] = BODY
    (tmp_path / "a.part").mkdir()
    with pytest.raises(UserError, match=r"a\.part cannot be written: Is a directory"):
        download([server.url("/a")], tmp_path / "a", md5=MD5, retry=retry)
    assert not (tmp_path / "a").exists()


def test_a_full_disk_is_not_taken_for_a_bad_connection(fetched_bytes, server, monkeypatch):
    def full(part, file, block):
        module._writing(part, lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    server.files["/a"] = BODY
    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(UserError, match=r"set\.tar\.gz\.part cannot be written: No space left on device"):
        fetched_bytes("/a")
    assert len(server.asked) == 1


def test_killed_half_way_it_goes_on(server, tmp_path, fetched_bytes, whole_way):
    def slow(handler, body, begin):
        handler.answer(200, len(body))
        handler.wfile.write(body[:400_000])
        time.sleep(60)

    server.files["/a"] = BODY
    server.ways["/a"] = slow
    part = tmp_path / "set.tar.gz.part"
    code = (
        "import pathlib; from beam_preprocess.gtzan.download import download; "
        f"download([{server.url('/a')!r}], pathlib.Path({str(tmp_path / 'set.tar.gz')!r}), md5={MD5!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (part.exists() and part.stat().st_size == 400_000):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert left(tmp_path) == ["set.tar.gz.part"]
    server.ways["/a"] = whole_way
    assert fetched_bytes("/a") == BODY
    assert server.asked[-1] == ("/a", 400_000)


def test_md5(tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    assert md5_of(tmp_path / "a") == MD5
    with pytest.raises(UserError, match="cannot be read"):
        md5_of(tmp_path / "none")


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
from beam_preprocess.gtzan import download, unpack
write = unpack._write
def slowly(*args):
    write(*args)
    time.sleep(600 if pathlib.Path({str(output / "blues" / "blues.00030.wav")!r}).exists() else 0)
unpack._write = slowly
download.fetch(pathlib.Path({str(output)!r}), source=pathlib.Path({str(tmp_path / "mine.tar.gz")!r}),
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
