import hashlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from beam_preprocess.gtzan import download as module
from beam_preprocess.gtzan.download import RetryPolicy, download, md5_of
from tfrecords.common.command_line import UserError

BODY = bytes(range(256)) * 4000
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def fetch(server, tmp_path, retry):
    """Downloads from paths of the server; gives what is in the directory after it."""

    def run(*paths, **changes):
        urls = [server.url(path) for path in paths]
        download(urls, tmp_path / "set.tar.gz", **{"md5": MD5, "retry": retry} | changes)
        return (tmp_path / "set.tar.gz").read_bytes()

    return run


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_download(fetch, server, tmp_path, capfd):
    server.files["/a"] = BODY
    assert fetch("/a") == BODY
    assert left(tmp_path) == ["set.tar.gz"]
    assert capfd.readouterr().err == f"{server.url('/a')}: downloading\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar_until_the_download_ends(fetch, server, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(module, "_TERMINAL_EVERY_S", 0)
    (tmp_path / "set.tar.gz.part").write_bytes(BODY[: len(BODY) // 4])
    server.files["/a"] = BODY
    fetch("/a")
    shown = sys.stderr.getvalue().split("\r")
    percents = [int(percent) for percent in re.findall(r"set\.tar\.gz: +(\d+)%", "".join(shown))]
    assert percents[0] == 25 and percents[-1] > 25
    # Erased, and no line of it stays.
    assert shown[-1] == "" and not shown[-2].strip()
    assert sys.stderr.getvalue().count("\n") == 1


def test_a_log_shows_how_far_a_long_download_is(fetch, server, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(module, "_LOG_EVERY_S", 1e-9)
    server.files["/a"] = BODY
    fetch("/a")
    first, *lines = sys.stderr.getvalue().splitlines()
    assert first.endswith(": downloading")
    assert lines[-1] == "set.tar.gz: 1,024,000 of 1,024,000 bytes"
    assert all(re.fullmatch(r"set\.tar\.gz: [\d,]+ of 1,024,000 bytes", line) for line in lines)
    assert "\r" not in sys.stderr.getvalue()


def test_the_directory_is_made(server, tmp_path, retry):
    server.files["/a"] = BODY
    download([server.url("/a")], tmp_path / "new" / "deep" / "set", md5=MD5, retry=retry)
    assert (tmp_path / "new" / "deep" / "set").read_bytes() == BODY


def test_one_that_is_there_is_checked_only(fetch, server, tmp_path):
    (tmp_path / "set.tar.gz").write_bytes(BODY)
    assert fetch("/a") == BODY
    (tmp_path / "set.tar.gz").write_bytes(b"mine")
    with pytest.raises(UserError, match=f"its md5 is .*, that of the published archive is {MD5}; delete or move it"):
        fetch("/a")
    assert server.asked == []


def test_dropped_connections_go_on_where_they_ended(fetch, server, whole_way, naps):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda *args: whole_way(*args, limit=200_000)
    assert fetch("/a") == BODY
    assert [begin for _, begin in server.asked] == [None, *range(200_000, 1_024_000, 200_000)]
    # Each attempt brought something, so none of them counts as a further failure.
    assert naps == [1.0] * 5


def test_a_server_that_brings_nothing_new_is_given_up(fetch, server, whole_way, naps, tmp_path):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda *args: whole_way(*args, limit=0)
    with pytest.raises(UserError, match=r"the connection ended after 0 of 1,024,000 bytes, 3 times; give --mirror=URL"):
        fetch("/a")
    assert naps == [1.0, 2.0]
    assert left(tmp_path) in ([], ["set.tar.gz.part"])


def test_a_server_that_ignores_the_range_starts_over(fetch, server, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(b"x" * 5000)
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, body, begin: (handler.answer(200, len(body)), handler.wfile.write(body))
    assert fetch("/a") == BODY
    assert server.asked == [("/a", 5000)]


def test_a_server_that_ignores_the_range_and_always_drops_is_given_up(fetch, server, whole_way):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, body, begin: whole_way(handler, body, None, limit=100_000)
    with pytest.raises(UserError, match="ended after 100,000 of 1,024,000 bytes, 3 times"):
        fetch("/a")
    assert len(server.asked) == 3


def test_what_an_earlier_run_left_is_used(fetch, server, tmp_path, capfd):
    (tmp_path / "set.tar.gz.part").write_bytes(BODY[:300_000])
    server.files["/a"] = BODY
    assert fetch("/a") == BODY
    assert server.asked == [("/a", 300_000)]
    assert "resuming after 300,000 bytes" in capfd.readouterr().err


def test_what_is_whole_already_needs_no_byte(fetch, server, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(BODY)
    server.files["/a"] = BODY
    assert fetch("/a") == BODY


@pytest.mark.parametrize("part", [b"y" * 300_000, BODY + b"more"], ids=["another file's", "too long"])
def test_what_was_there_does_not_fit(fetch, server, tmp_path, capfd, part):
    (tmp_path / "set.tar.gz.part").write_bytes(part)
    server.files["/a"] = BODY
    assert fetch("/a") == BODY
    assert [begin for _, begin in server.asked] == [len(part), None]
    assert "do not belong to this file" in capfd.readouterr().err


@pytest.mark.parametrize("error", [-1000, 1000])
def test_a_server_that_lies_about_the_length(fetch, server, tmp_path, error):
    def lie(handler, body, begin):
        if begin is not None and begin >= len(body):
            handler.answer(416, 0)
        else:
            handler.answer(200, len(body) + error)
            handler.wfile.write(body)

    server.files |= {"/lies": BODY, "/a": BODY}
    server.ways["/lies"] = lie
    assert fetch("/lies", "/a") == BODY
    assert left(tmp_path) == ["set.tar.gz"]


def test_a_length_that_nobody_says(fetch, server):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, body, begin: (handler.answer(200), handler.wfile.write(body))
    assert fetch("/a") == BODY


def test_a_wrong_checksum_is_refused_in_one_line(fetch, server, tmp_path):
    server.files["/a"] = BODY[:-1] + b"!"
    with pytest.raises(UserError, match=rf"/a: holds another file: md5 [0-9a-f]{{32}} instead of {MD5}; give") as info:
        fetch("/a")
    assert "\n" not in str(info.value)
    assert left(tmp_path) == []
    assert len(server.asked) == 1


def test_another_mirror_is_asked_after_a_bad_one(fetch, server, capfd):
    server.files |= {"/wrong": b"something else", "/good": BODY}
    assert fetch("/none", "/wrong", "/good") == BODY
    assert [path for path, _ in server.asked] == ["/none", "/wrong", "/good"]


def test_two_mirrors_share_what_has_come(fetch, server, whole_way):
    server.files |= {"/a": BODY, "/b": BODY}
    server.ways["/a"] = lambda handler, body, begin: (
        whole_way(handler, body, begin, limit=100_000) if begin is None else handler.send_error(404)
    )
    assert fetch("/a", "/b") == BODY
    assert server.asked == [("/a", None), ("/a", 100_000), ("/b", 100_000)]


def test_every_mirror_is_named_when_none_gives_it(fetch, server):
    server.files["/wrong"] = b""
    with pytest.raises(UserError, match=r"cannot be downloaded: .*/none: 404 .*; .*/wrong: holds another file"):
        fetch("/none", "/wrong")


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (410, 1), (500, 3), (503, 3), (429, 3)])
def test_which_answers_are_worth_another_try(fetch, server, naps, status, tries):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, body, begin: handler.send_error(status)
    with pytest.raises(UserError, match=f"/a: {status} "):
        fetch("/a")
    assert len(server.asked) == tries
    assert naps == [1.0, 2.0][: tries - 1]


def test_a_server_that_recovers(fetch, server, whole_way):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, *rest: (
        handler.send_error(500) if len(server.asked) < 3 else whole_way(handler, *rest)
    )
    assert fetch("/a") == BODY


def test_another_range_than_asked_for(fetch, server, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(BODY[:1000])
    server.files["/a"] = BODY
    server.ways["/a"] = lambda handler, body, begin: (
        handler.answer(206, 10, Content_Range="bytes 5-14/1024000"),
        handler.wfile.write(body[5:15]),
    )
    with pytest.raises(UserError, match="sends another range than the one asked for"):
        fetch("/a")
    assert (tmp_path / "set.tar.gz.part").read_bytes() == BODY[:1000]


def test_more_than_the_disk_should_take(fetch, server, tmp_path):
    server.files["/a"] = BODY
    with pytest.raises(UserError, match="sends more than 500,000 bytes"):
        fetch("/a", retry=RetryPolicy(max_bytes=500_000))
    assert left(tmp_path) == []


def test_a_silent_server(fetch, server):
    server.files["/a"] = BODY
    server.ways["/a"] = lambda *args: time.sleep(1)
    with pytest.raises(UserError, match="timed out, 1 times"):
        fetch("/a", retry=RetryPolicy(attempts=1, timeout_s=0.1))


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
    with pytest.raises(UserError, match="mirror must be an address that begins with https:// or http://, got"):
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


def test_a_full_disk_is_not_taken_for_a_bad_connection(fetch, server, monkeypatch):
    def full(part, file, block):
        module._writing(part, lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    server.files["/a"] = BODY
    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(UserError, match=r"set\.tar\.gz\.part cannot be written: No space left on device"):
        fetch("/a")
    assert len(server.asked) == 1


def test_killed_half_way_it_goes_on(server, tmp_path, fetch, whole_way):
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
    assert fetch("/a") == BODY
    assert server.asked[-1] == ("/a", 400_000)


def test_md5(tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    assert md5_of(tmp_path / "a") == MD5
    with pytest.raises(UserError, match="cannot be read"):
        md5_of(tmp_path / "none")
