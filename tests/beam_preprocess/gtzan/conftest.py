import http.server
import io
import os
import tarfile
import threading

import numpy as np
import pytest
import soundfile

from beam_preprocess.gtzan.download import RetryPolicy
from beam_preprocess.gtzan.facts import all_clips, genre_of


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Thousands of clips are written here; those tests that concern fsync patch it themselves."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` (path -> bytes), each in the way that `ways` names; keeps what was asked in `asked`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.ways, self.asked = {}, {}, []

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request. A way is a function of (handler, body, begin of the range asked for, or None)."""

    def do_GET(self):
        asked = self.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else None
        self.server.asked.append((self.path, begin))
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
        else:
            self.server.ways.get(self.path, whole)(self, body, begin)

    def answer(self, status, length=None, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *args):
        pass


def whole(handler, body, begin, limit=None):
    """As a good server does; with a limit, the connection drops after so many bytes."""
    if begin is not None and begin >= len(body):
        handler.answer(416, 0, Content_Range=f"bytes */{len(body)}")
        return
    rest = body[begin or 0 :]
    if begin is None:
        handler.answer(200, len(rest))
    else:
        handler.answer(206, len(rest), Content_Range=f"bytes {begin}-{len(body) - 1}/{len(body)}")
    handler.wfile.write(rest[:limit])


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def naps():
    """Seconds that a download waited, in order; nobody really waits."""
    return []


@pytest.fixture
def retry(naps):
    return RetryPolicy(attempts=3, timeout_s=30.0, sleep=naps.append)


@pytest.fixture(scope="session")
def whole_way():
    return whole


@pytest.fixture(scope="session")
def clip_bytes():
    """Clip -> the bytes of a short .wav of its own; jazz.00054 is no audio. All 1,000."""

    def sound(number):
        wav = io.BytesIO()
        tone = np.sin(2 * np.pi * (200 + number) * np.arange(400) / 22050)
        soundfile.write(wav, tone, 22050, format="WAV")
        return wav.getvalue()

    files = {clip: sound(number) for number, clip in enumerate(all_clips())}
    files["jazz.00054"] = b"this is no audio"
    return files


@pytest.fixture(scope="session")
def make_archive():
    """The bytes of a .tar.gz of name -> bytes, and of members that are TarInfo."""

    def make(files, *members):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz", compresslevel=1) as archive:
            for info in members:
                archive.addfile(info, io.BytesIO(bytes(info.size)))
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return data.getvalue()

    return make


@pytest.fixture(scope="session")
def member_names():
    """Clip -> its name in the original archive, with another extension if wanted."""

    def names(files, folder="genres", extension=".wav"):
        return {f"{folder}/{genre_of(clip)}/{clip}{extension}": content for clip, content in files.items()}

    return names


@pytest.fixture(scope="session")
def archive_bytes(clip_bytes, make_archive, member_names):
    """The whole set, as the published archive holds it, with a file that is no clip."""
    return make_archive({"genres/input.mf": b"list", **member_names(clip_bytes)})


@pytest.fixture(scope="session")
def files_below():
    """Path below a folder -> bytes, of all files there, hidden ones too."""

    def read(folder):
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return read
