import concurrent.futures
import http.client
import http.server
import shutil
import threading

import pytest

from tools import stores


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
    with stores.FaultyProxy(upstream, share=0, latency_s=0, seed=0) as proxy:
        assert outcome(proxy.port) == (201, b"body" * 100, "tag")
        assert proxy.bytes_sent == 400
        assert proxy.describe() == "1 requests, 0.0 MB sent; faults: none"


def test_the_proxy_breaks_what_its_seed_draws(upstream):
    with stores.FaultyProxy(upstream, share=0.5, latency_s=0, seed=1) as proxy:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: outcome(proxy.port), range(80)))
        assert proxy.counts.keys() == {"passed", "429", "503", "reset before", "reset after", "torn"}
        assert found.count((201, b"body" * 100, "tag")) == proxy.counts["passed"]
        assert [each[0] for each in found if isinstance(each, tuple)].count(503) == proxy.counts["503"]
        assert found.count("IncompleteRead") == proxy.counts["torn"]


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
    status, printed = run(stores, "--stores=s3", "--faults=0.05", f"--work_dir={tmp_path}")
    assert status == 0
    assert "s3: as on this machine; " in printed
