"""Emulated stores on loopback, and a proxy in front of one that adds latency and fails now and then."""

import contextlib
import http.client
import http.server
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks import processes
from tfrecords.common.command_line import UserError

NAMES = ("gcs", "s3")
BUCKET = "music"
_FAKE_GCS = "github.com/fsouza/fake-gcs-server"
_FAKE_GCS_VERSION = "v1.56.1"
_START_LIMIT_S = 60
# Headers that hold for one connection only.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "te", "upgrade"}
# What lists objects, of S3 and of Google's interfaces.
_LIST = re.compile(r"[?&]list-type=2|^/storage/v1/b/[^/]+/o(\?|$)")
# How old a stale list may be.
_STALE_S = 5.0
_FAULTS = ("429", "503", "reset before", "reset after", "torn")

# Status, headers and body.
Answer = tuple[int, dict[str, str], bytes]


def root(name: str) -> str:
    """Return the URL of a store's bucket."""
    return f"{'gs' if name == 'gcs' else 's3'}://{BUCKET}"


def environment(name: str, port: int) -> dict[str, str]:
    """Return the variables by which programs reach a store at a port of loopback."""
    address = f"http://127.0.0.1:{port}"
    if name == "gcs":
        return {"STORAGE_EMULATOR_HOST": address}
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_REGION": "us-east-1",
    }


@contextlib.contextmanager
def emulator(name: str, work_dir: Path, engines_dir: Path) -> Iterator[int]:
    """Yield the port of an emulated store with an empty bucket."""
    port = free_port()
    if name == "gcs":
        program = str(_install_fake_gcs(engines_dir))
        command = [program, "-scheme=http", "-host=127.0.0.1", f"-port={port}", "-backend=memory"]
        command.append(f"-public-host=127.0.0.1:{port}")
        create = urllib.request.Request(
            f"http://127.0.0.1:{port}/storage/v1/b?project=music",
            json.dumps({"name": BUCKET}).encode(),
            {"Content-Type": "application/json"},
        )
    else:
        program = str(Path(sys.executable).with_name("moto_server"))
        command = [program, "--host=127.0.0.1", f"--port={port}"]
        create = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
    with (work_dir / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True, start_new_session=True)
    try:
        _until_it_answers(create)
        yield port
    finally:
        processes.kill(process)


def _until_it_answers(request: urllib.request.Request) -> None:
    ends = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - of loopback
                return
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            if time.monotonic() > ends:
                raise UserError(f"{request.full_url} does not answer: {error}") from None
            time.sleep(0.1)


def _install_fake_gcs(engines_dir: Path) -> Path:
    folder = engines_dir.resolve() / f"fake-gcs-server-{_FAKE_GCS_VERSION}"
    if not (folder / "fake-gcs-server").exists():
        command = ["go", "install", f"{_FAKE_GCS}@{_FAKE_GCS_VERSION}"]
        subprocess.run(command, env=os.environ | {"GOBIN": str(folder)}, check=True)
    return folder / "fake-gcs-server"


def free_port() -> int:
    """Return a port of loopback that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class FaultyProxy(http.server.ThreadingHTTPServer):
    """Stands between clients and a store, and fails now and then.

    Attributes:
      port: at which it listens, on loopback.
      counts: what was done to requests -> how often.
      bytes_sent: bodies of answers that clients were sent.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: int, *, share: float, latency_s: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = self.server_port
        self.upstream = upstream
        self.latency_s = latency_s
        self.counts: Counter[str] = Counter()
        self.bytes_sent = 0
        self._share = share
        self._rng = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._lock = threading.Lock()
        self._lists: defaultdict[str, list[tuple[float, Answer]]] = defaultdict(list)

    def __enter__(self) -> "FaultyProxy":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def draw(self, *, lists: bool = False) -> str:
        """Return what is to be done to the next request.

        Args:
          lists: whether it asks for a list of objects.
        """
        with self._lock:
            if self._rng.random() >= self._share:
                return "passed"
            return self._rng.choice((*_FAULTS, "stale list") if lists else _FAULTS)

    def count(self, done: str) -> None:
        """Count what was done to a request."""
        with self._lock:
            self.counts[done] += 1

    def older(self, path: str, answer: Answer) -> Answer:
        """Keep a list's answer, and return the oldest of the same list that is not too old."""
        now = time.monotonic()
        with self._lock:
            kept = [(at, each) for at, each in self._lists[path] if now - at < _STALE_S]
            self._lists[path] = [*kept, (now, answer)]
            return self._lists[path][0][1]

    def sent(self, size: int) -> None:
        """Count the body of an answer."""
        with self._lock:
            self.bytes_sent += size

    def describe(self) -> str:
        """Return how many requests there were, and what was done to them."""
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()) if name != "passed")
        return f"{self.counts.total()} requests, {self.bytes_sent / 1e6:.1f} MB sent; faults: {faults or 'none'}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"
    # Or the system waits 40 ms between the headers and the body of an answer.
    disable_nagle_algorithm = True

    def _forward(self) -> None:
        body = self._body()
        time.sleep(self.server.latency_s)
        lists = self.command == "GET" and _LIST.search(self.path) is not None
        fault = self.server.draw(lists=lists)
        if fault in ("429", "503"):
            self.server.count(fault)
            self._answer((int(fault), {}, b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>"))
            return
        answer = None if fault == "reset before" else self._ask(body)
        if answer and lists:
            older = self.server.older(self.path, answer)
            if fault == "stale list" and older[2] != answer[2]:
                answer = older
            elif fault == "stale list":
                fault = "passed"
        if fault == "torn" and (self.command == "HEAD" or not (answer and answer[2])):
            fault = "passed"
        self.server.count(fault)
        if answer and fault in ("passed", "stale list"):
            self._answer(answer)
            return
        if answer and fault == "torn":
            self._answer(answer, sent=len(answer[2]) // 2)
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _forward  # noqa: N815 - names of http.server

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _ask(self, body: bytes) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(self, answer: Answer, sent: int | None = None) -> None:
        status, headers, data = answer
        self.send_response_only(status)
        names = {name.lower() for name in headers}
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP and (name.lower() != "content-length" or self.command == "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD" or "content-length" not in names:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            # Counted first: a client that has the whole answer finds it in the count.
            self.server.sent(len(data[:sent]))
            self.wfile.write(data[:sent])
            self.wfile.flush()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as in http.server
        """Log nothing."""
