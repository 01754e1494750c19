import concurrent.futures
import http.client
import http.server
import shutil
import threading
import urllib.request

import pytest

from tools import emulated_stores, stores


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"])) * 100
        self.send_response(201)
        self.send_header("X-Tag", "tag")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def upstream():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def outcome(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/a?b=c", b"body")
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("X-Tag")
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def test_the_proxy_passes_on_what_it_does_not_break(upstream):
    with emulated_stores.FaultyProxy(upstream, share=0, latency_s=0, seed=0) as proxy:
        assert outcome(proxy.port) == (201, b"body" * 100, "tag")
        assert proxy.bytes_sent == 400
        assert proxy.describe() == "1 requests, 0.0 MB sent; faults: none"


def test_the_proxy_breaks_what_its_seed_draws(upstream):
    with emulated_stores.FaultyProxy(upstream, share=0.5, latency_s=0, seed=1) as proxy:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: outcome(proxy.port), range(80)))
        assert proxy.counts.keys() == {"passed", "429", "503", "reset before", "reset after", "torn"}
        assert found.count((201, b"body" * 100, "tag")) == proxy.counts["passed"]
        assert [each[0] for each in found if isinstance(each, tuple)].count(503) == proxy.counts["503"]
        assert found.count("IncompleteRead") == proxy.counts["torn"]


class Listed(Echo):
    """Lists one object more each time."""

    count = 0

    def do_GET(self):
        Listed.count += 1
        data = b"x" * Listed.count
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def test_lists_are_stale_now_and_then(monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with emulated_stores.FaultyProxy(server.server_port, share=0, latency_s=0, seed=0) as proxy:
            monkeypatch.setattr(proxy, "draw", lambda *, lists: "stale list" if lists else "passed")

            def got(path):
                with urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}{path}") as answer:
                    return len(answer.read())

            lists = "/bucket?list-type=2&prefix=a", "/storage/v1/b/bucket/o?prefix=a"
            assert [got(path) for path in (*lists, *lists, "/bucket/a", "/storage/v1/b/bucket/o/a")] == [
                1,
                2,
                1,
                2,
                5,
                6,
            ]
            assert proxy.counts == {"stale list": 2, "passed": 4}
        server.shutdown()


def test_how_far_losses_are_apart():
    history = b"epoch,loss\n0,1.5\n1,0.25\n"
    assert stores._most_apart(history, history) == 0
    assert stores._most_apart(history.replace(b"0.25", b"0.5"), history) == 0.25
    assert stores._most_apart(history[:-7], history) == float("inf")


def test_differences():
    expected = {"data/a": b"1", "job/metrics.json": b'{"data_dir": "/here", "accuracy": 0.5}'}
    found = {"data/a": b"1", "job/metrics.json": b'{"data_dir": "s3://b", "accuracy": 0.5}'}
    assert stores.differences(found, expected) == []
    assert stores.differences({**found, "job/metrics.json": b'{"accuracy": 0.4}'}, expected) == [
        "job/metrics.json differs"
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("moto_server") is None, reason="moto is not installed")
def test_the_whole_path_on_s3(run, tmp_path):
    status, printed = run(stores, "--stores=s3", "--checks=path", "--faults=0.05", f"--work_dir={tmp_path}")
    assert status == 0
    assert "s3, path: as on this machine; " in printed
