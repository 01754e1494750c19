import base64
import contextlib
import hashlib
import http.client
import io
import json
import re
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.datastructures import Headers

from tests.trainer.serving.test_similarity import embeddings_of
from tests.trainer.serving.web.page_server import CountingRecognizer, RealDecoding, ask, recognize, running, wait_until
from trainer.serving.similarity import Collection
from trainer.serving.web import app, uploads
from trainer.serving.web.app import Limits, check_origin, linger_limit_s

FACTS = {"model": "time", "labels": ['rock "n" <roll>', "</script>", "jazz $style"]}


def test_every_file_of_the_folder_is_in_the_page():
    text = app.page(FACTS)[0].decode("utf-8")
    folder = Path(app.__file__).parent / "page"
    pieces = [path for path in folder.iterdir() if path.suffix in (".css", ".js")]
    assert len(pieces) >= 5
    for path in pieces:
        assert path.read_text("utf-8") in text, path.name


def test_its_policy_lets_exactly_its_own_style_and_script_work():
    page, policy = app.page(FACTS)
    text = page.decode("utf-8")
    for tag in ("style", "script"):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(inline.encode("utf-8")).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy


def test_it_names_nothing_of_the_network():
    text = app.page(FACTS)[0].decode("utf-8")
    assert "http:" not in text and "https:" not in text and "//cdn" not in text


def test_foreign_names_do_not_end_what_holds_them(parse_page):
    parsed = parse_page(app.page(FACTS)[0].decode("utf-8"))
    assert json.loads(parsed.all("body")[0]["data-facts"]) == FACTS


def test_what_can_be_operated_has_a_name_and_every_label_an_input(parse_page):
    parsed = parse_page(app.page(FACTS)[0].decode("utf-8"))
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in parsed.tags:
        for name in ("for", "aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids
    (slider,) = [attributes for _, attributes in parsed.tags if attributes.get("role") == "slider"]
    assert slider["tabindex"] == "0" and slider["aria-label"]


@pytest.fixture(scope="module")
def server():
    with running(head_s=60, body_s=60, linger_s=0.2) as started:
        yield started


@pytest.fixture(scope="module")
def hasty():
    """A server that gives its clients no time, for tests of just that: a busy machine is as slow as a slow client."""
    with running(head_s=0.6, body_s=0.4) as started:
        yield started


def raw(server, *pieces, pause_s=0.0):
    """What comes back for bytes sent piece by piece."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)
        return connection.makefile("rb").read()


def head(server, *lines):
    start = ("POST /recognition HTTP/1.1", f"Host: 127.0.0.1:{server.port}")
    return "\r\n".join((*start, *lines, "", "")).encode()


def test_the_page_may_run_only_its_own_script_and_is_not_kept(server):
    status, headers, page = ask(server, "GET", "/")
    assert status == 200 and page.startswith(b"<!DOCTYPE html>") and int(headers["Content-Length"]) == len(page)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == headers["Referrer-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    assert b"&quot;upload_bytes&quot;: 100000" in page


def test_a_recognition_is_what_the_page_draws(server):
    status, _, result = ask(server, "POST", "/recognition", b"music")
    assert status == 200 and result["labels"] == ["jazz", "rock"] and result["label"] in result["labels"]
    assert len(result["timeline"]) == len(result["starts_s"]) == 3


def test_tracks_that_sound_alike_are_named_where_there_is_a_collection(server):
    assert "sounds_like" not in ask(server, "POST", "/recognition", b"music")[2]
    vectors = np.random.default_rng(0).normal(size=(9, 2))
    similar = app.Similar(CountingRecognizer(), Collection(embeddings_of(vectors, ["jazz", None] * 4 + ["rock"])))
    with running(similar=similar) as with_collection:
        status, _, result = ask(with_collection, "POST", "/recognition", b"music")
    assert status == 200 and len(result["sounds_like"]) == 5
    assert set(result["sounds_like"][0]) == {"path", "label", "similarity"}
    similarities = [track["similarity"] for track in result["sounds_like"]]
    assert similarities == sorted(similarities, reverse=True)


def test_what_is_no_audio_has_its_reason_in_words(server):
    status, _, answer = ask(server, "POST", "/recognition", b"text named .mp3")
    assert status == 422
    assert answer["error"] == {
        "reason": "undecodable",
        "message": "This is not audio that can be decoded. WAV, FLAC, MP3, M4A, OGG and other common formats can.",
        "detail": "Format not recognised",
    }


def test_a_bug_is_told_to_the_terminal_and_leaves_the_server_answering(server, caplog):
    assert recognize(server, b"bug") == (500, "failed")
    assert recognize(server, b"music")[0] == 200
    assert caplog.text.count("RuntimeError: a bug of the recognizer") == 1


def test_a_file_larger_than_allowed_is_refused_before_it_is_read(server):
    begun = time.monotonic()
    answer = raw(server, head(server, "Content-Length: 500000000"))
    # Refused though none of it was sent, and nothing is waited for but what might still come.
    assert answer.startswith(b"HTTP/1.1 413") and b"larger than 0.1 MB" in answer and b'"500.0 MB"' in answer
    assert time.monotonic() - begun < 30


def test_a_client_that_sends_all_of_a_file_too_large_still_gets_the_answer():
    with running(head_s=60, body_s=60, linger_s=60) as server:
        assert recognize(server, bytes(5_000_000)) == (413, "too_large")


def test_a_refused_client_that_sends_slowly_does_not_keep_its_place():
    # All of it would take an hour, and body_s is that long.
    with (
        running(head_s=60, body_s=3600, linger_s=0.2, connections=1) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow,
    ):
        slow.sendall(head(server, "Content-Length: 500000000", "Origin: http://music.example"))
        assert slow.makefile("rb").readline().startswith(b"HTTP/1.1 403")
        ends = time.monotonic() + 60
        while (status := try_recognize(server)) in (503, None):
            with contextlib.suppress(OSError):
                slow.send(b"m")
            assert time.monotonic() < ends
            time.sleep(0.02)
    assert status == 200


def test_what_a_refused_client_sends_buys_it_time():
    limits = Limits(upload_bytes=1, duration_s=1)
    assert [linger_limit_s(limits, megabytes * 1_000_000) for megabytes in (0, 1, 50, 10_000)] == [2, 3, 52, 120]


def test_a_client_that_asks_first_does_not_send_a_file_too_large(server):
    answer = raw(server, head(server, "Content-Length: 500000000", "Expect: 100-continue"))
    assert b"100 Continue" not in answer and answer.startswith(b"HTTP/1.1 413")
    answer = raw(server, head(server, "Content-Length: 5", "Expect: 100-continue"), b"music")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


@pytest.mark.parametrize("line", ["X: y", "Transfer-Encoding: chunked"])
def test_a_body_without_a_length_is_refused(server, line):
    assert raw(server, head(server, line)).startswith(b"HTTP/1.1 411")


@pytest.mark.parametrize("length", ["-5", "1_0", "5, 6", "5\r\nContent-Length: 6", "9" * 5000, ""])
def test_a_length_that_is_no_number_is_refused(server, length):
    answer = raw(server, head(server, f"Content-Length: {length}"))
    assert answer.startswith(b"HTTP/1.1 400") and b'"bad_request"' in answer
    assert b"cache-control: no-store\r\n" in answer


def test_chunks_that_are_none_are_no_fault_of_the_server(server, capfd):
    answer = raw(server, head(server, "Transfer-Encoding: chunked"), b"nonsense\r\n", pause_s=0.1)
    assert answer.startswith(b"HTTP/1.1 411") and answer.count(b"HTTP/1.1") == 1
    assert recognize(server, b"music")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_file_that_arrives_too_slowly_is_given_up(hasty):
    trickle = raw(hasty, head(hasty, "Content-Length: 900"), *[b"m"] * 8, pause_s=0.1)
    assert trickle.startswith(b"HTTP/1.1 408") and b'"too_slow"' in trickle


def test_a_file_that_does_not_arrive_whole_gives_its_place_back(capfd):
    with running(files=1, head_s=60, body_s=3600) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(head(server, "Content-Length: 900") + b"half")
            wait_until(server.app._places.locked)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        assert recognize(server, b"music")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_head_that_trickles_in_is_given_up(hasty):
    begun = time.monotonic()
    # They would take 60 s.
    with pytest.raises(ConnectionError):
        raw(hasty, *[b"G"] * 600, pause_s=0.1)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/", {"Host": "music.example"}, (403, "other_host")),
        ("POST", "/recognition", {"Origin": "http://music.example"}, (403, "other_site")),
        ("POST", "/wav", {"Origin": "null"}, (403, "other_site")),
        ("GET", "/recognition", {}, (404, "not_found")),
        ("GET", "/../setup.py", {}, (404, "not_found")),
        ("POST", "/", {}, (404, "not_found")),
        ("OPTIONS", "/recognition", {"Origin": "http://music.example"}, (403, "other_site")),
        ("OPTIONS", "/recognition", {}, (404, "not_found")),
    ],
)
def test_other_requests_are_refused_in_json(server, method, path, headers, expected):
    status, answered, content = ask(server, method, path, headers=headers)
    assert (status, content["error"]["reason"]) == expected
    assert not [name for name in answered if name.lower().startswith("access-control")]


def test_what_is_not_http_is_refused(server):
    answer = raw(server, b"nonsense\r\n\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2] or answer)["error"]["reason"] == "bad_request"


def test_a_format_that_browsers_do_not_play_comes_back_as_wav(server):
    file = io.BytesIO()
    soundfile.write(file, np.linspace(-0.5, 0.5, 11025), 22050, format="AU")
    status, headers, content = ask(server, "POST", "/wav", file.getvalue())
    assert status == 200 and headers["Content-Type"] == "audio/wav"
    samples, rate = soundfile.read(io.BytesIO(content))
    assert rate == 22050 and np.allclose(samples, np.linspace(-0.5, 0.5, 11025), atol=1e-4)
    status, _, answer = ask(server, "POST", "/wav", b"no audio")
    assert (status, answer["error"]["reason"]) == (422, "undecodable")


def try_recognize(server):
    """The status of a recognition; None if this client, too, was so slow that it lost its place."""
    try:
        return recognize(server, b"music")[0]
    except (OSError, http.client.HTTPException):
        return None


def test_a_silent_client_loses_its_place(capfd):
    with (
        running(head_s=0.5, connections=1) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as silent,
    ):
        assert silent.recv(1) == b""
        ends = time.monotonic() + 60
        while (status := try_recognize(server)) in (503, None):
            assert time.monotonic() < ends
    assert status == 200
    assert capfd.readouterr() == ("", "")


def test_clients_that_send_a_byte_now_and_then_keep_their_places_no_longer_than_a_head_may_take():
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running(head_s=0.5, connections=8))
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(8)]
        wait_until(lambda: server.connections == 8)
        ends = time.monotonic() + 60
        while (status := try_recognize(server)) in (503, None):
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.send(b"G")
            assert time.monotonic() < ends
            time.sleep(0.02)
    assert status == 200


def test_a_client_that_takes_no_answer_loses_its_place(capfd):
    with (
        running(head_s=0.5, connections=1) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as deaf,
    ):
        # More than the system's buffers hold.
        server.app._html = bytes(50_000_000)
        deaf.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        wait_until(lambda: server.connections == 1)
        wait_until(lambda: not server.connections)
        assert recognize(server, b"music")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_client_that_goes_away_in_the_midst_of_its_wav_is_no_fault_of_the_server(capfd):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(22050 * 600), 22050, format="FLAC")
    with running(duration_s=3600) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as leaving:
            start = head(server, f"Content-Length: {len(file.getvalue())}").replace(b"/recognition", b"/wav")
            leaving.sendall(start + file.getvalue())
            assert leaving.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: not server.connections)
        assert recognize(server, b"music")[0] == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_pages_own_requests_pass(name):
    own = f"{name}:8000"
    assert check_origin(Headers({"Host": own}), 8000) is None
    assert check_origin(Headers({"Host": own, "Origin": f"http://{own}"}), 8000) is None
    assert check_origin(Headers({"Host": name, "Origin": f"http://{name}"}), 80) is None


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([], "other_host"),
        ([("host", "music.example:8000")], "other_host"),
        ([("host", "127.0.0.1.music.example:8000")], "other_host"),
        ([("host", "127.0.0.1:9000")], "other_host"),
        ([("host", "127.0.0.1")], "other_host"),
        ([("host", "localhost:8000"), ("host", "music.example")], "other_host"),
        ([("host", "localhost:8000"), ("origin", "http://music.example")], "other_site"),
        ([("host", "localhost:8000"), ("origin", "http://localhost:9000")], "other_site"),
        ([("host", "localhost:8000"), ("origin", "https://localhost:8000")], "other_site"),
        ([("host", "localhost:8000"), ("origin", "null")], "other_site"),
        ([("host", "localhost:8000"), ("origin", "http://localhost:8000"), ("origin", "null")], "other_site"),
    ],
)
def test_all_others_are_refused(pairs, reason):
    refusal = check_origin(Headers(raw=[(name.encode(), value.encode()) for name, value in pairs]), 8000)
    assert refusal.reason == reason and refusal.status == 403


@pytest.mark.parametrize("in_memory", [1 << 20, 0])
@pytest.mark.parametrize("path", ["/recognition", "/wav"])
def test_a_temporary_directory_that_takes_nothing_is_told(no_temporary_files, monkeypatch, in_memory, path, capfd):
    monkeypatch.setattr(uploads, "_IN_MEMORY_BYTES", in_memory)
    file = io.BytesIO()
    soundfile.write(file, np.linspace(-0.5, 0.5, 11025), 22050, format="AU")
    with running(RealDecoding()) as server:
        status, _, content = ask(server, "POST", path, file.getvalue())
    assert (status, content["error"]["reason"]) == (507, "no_room")
    assert no_temporary_files in content["error"]["detail"]
    assert capfd.readouterr() == ("", "")
