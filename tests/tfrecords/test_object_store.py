import http.server
import threading

import pytest

from tfrecords import object_store, storage

ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>{}</Message></Error>'


class Server(http.server.ThreadingHTTPServer):
    """A store that answers with what a test has put into `answers`, then with the object."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = []
        self.requests = []
        self.data = b"0123456789" * 100


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append(self.path)
        answer = self.server.answers.pop(0) if self.server.answers else None
        if answer == "reset":
            self.connection.close()
            self.close_connection = True
        elif answer == "torn":
            self._send(200, self.server.data, sent=200)
            self.close_connection = True
        elif answer:
            self._send(answer[0], ERROR.format(*answer[1:]).encode())
        else:
            self._send(200, self.server.data)

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def _send(self, status, data, sent=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"tag"')
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(data[:sent])
        self.wfile.flush()
        if sent is not None:
            self.connection.close()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(object_store, "_FIRST_WAIT_S", 0.001)
    object_store.open_store.cache_clear()
    yield server
    object_store.open_store.cache_clear()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "faults",
    [
        [(503, "SlowDown", "please reduce your rate")] * 3,
        [(429, "TooManyRequests", "slow down")] * 3,
        [(500, "InternalError", "again")] * 4,
        ["reset", "reset"],
        ["torn", "torn"],
        ["torn", (503, "SlowDown", ""), "reset"],
    ],
    ids=str,
)
def test_what_passes_is_tried_again(server, faults):
    server.answers = list(faults)
    assert storage.read("s3://bucket/file") == server.data
    server.answers = [fault for fault in faults if fault != "torn"][:2]
    storage.write("s3://bucket/file", b"data")
    assert not server.answers


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((404, "NoSuchKey", "no such key"), FileNotFoundError, "No such file"),
        ((404, "NoSuchBucket", "no bucket"), OSError, "there is no bucket s3://bucket; create it"),
        ((403, "AccessDenied", "denied"), PermissionError, "no permission; the account needs access to s3://bucket"),
        ((403, "InvalidAccessKeyId", "?"), PermissionError, "no valid credentials for s3://bucket; set AWS_ACCESS_KEY"),
        ((401, "Unauthorized", "?"), PermissionError, "no valid credentials for s3://bucket"),
        ((400, "BadRequest", "what"), OSError, "BadRequest"),
    ],
)
def test_what_does_not_pass_is_an_error_of_one_line(server, answer, kind, message):
    server.answers = [answer] * 50
    with pytest.raises(kind, match=message) as info:
        storage.read("s3://bucket/file")
    assert info.value.filename == "s3://bucket/file"
    assert "\n" not in str(info.value)
    assert len(server.requests) == 1


def test_a_store_that_stays_busy(server):
    server.answers = [(503, "SlowDown", "busy")] * 1000
    with pytest.raises(OSError, match=r"the store failed \d+ times: .*503") as info:
        storage.read("s3://bucket/file")
    assert "\n" not in str(info.value)


def test_credentials_of_the_aws_files(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "music")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = other\n[music]\naws_access_key_id = id\naws_secret_access_key = se%cret\n"
    )
    (tmp_path / ".aws" / "config").write_text("[profile music]\nregion = eu-north-1\n")
    assert object_store._aws_files() == {"access_key_id": "id", "secret_access_key": "se%cret", "region": "eu-north-1"}
