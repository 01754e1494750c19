"""A running server of the page whose recognizer only counts, for tests of what the server bears."""

import contextlib
import http.client
import json
import threading
import time
from typing import NamedTuple

import numpy as np

from beam_preprocess import audio
from beam_preprocess.audio import Reject
from trainer.serving.recognizer import Recognition
from trainer.serving.web.app import App, Limits
from trainer.serving.web.server import Server, take_port


def recognition_of(patches=3, frames=300, mel_bands=40, labels=("jazz", "rock")):
    rng = np.random.default_rng(0)
    timeline = rng.dirichlet(np.ones(len(labels)), patches).astype(np.float32)
    return Recognition(
        labels=labels,
        probabilities=timeline.mean(axis=0),
        timeline=timeline,
        starts_s=np.arange(patches) * 1.86,
        patch_s=1.86,
        duration_s=frames / 43,
        log_mel=rng.uniform(0, 5, (frames, mel_bands)).astype(np.float32),
        units=timeline,
    )


class CountingRecognizer:
    """Knows a file by how it begins: text is no audio, a bug is one of the server's own, all else is music."""

    def __init__(self, seconds=0.0):
        self.at_once = self.most_at_once = 0
        self.sizes, self.gate = [], threading.Event()
        self.gate.set()
        self._seconds = seconds

    def classify(self, tracks):
        return [recognition_of() for _ in tracks]

    def recognize(self, file, *, max_duration_s):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            assert self.gate.wait(20)
            time.sleep(self._seconds)
            content = file.read()
            self.sizes.append(len(content))
            if content.startswith(b"text"):
                raise Reject("undecodable", "Format not recognised")
            if content.startswith(b"bug"):
                raise RuntimeError("a bug of the recognizer")
            return recognition_of()
        finally:
            self.at_once -= 1


class RealDecoding(CountingRecognizer):
    """Decodes the file before it is taken for music."""

    def recognize(self, file, *, max_duration_s):
        for _ in audio.stream(file, sample_rate=22050, min_samples=1, max_duration_s=max_duration_s):
            pass
        return recognition_of()


class Running(NamedTuple):
    port: int
    app: App
    server: Server

    @property
    def connections(self):
        return len(self.server.server_state.connections)


@contextlib.contextmanager
def running(recognizer=None, similar=None, **limits):
    limits = Limits(**{"upload_bytes": 100_000, "duration_s": 60} | limits)
    with take_port(0) as listener:
        port = listener.getsockname()[1]
        app = App(recognizer or CountingRecognizer(), limits, port, {}, similar)
        server = Server(app, limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Running(port, app, server)
        finally:
            server.should_exit = True
            thread.join()


def ask(server, method, path, body=None, headers=()):
    """(status, headers, content: JSON where it is JSON) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    is_json = answer.getheader("Content-Type") == "application/json"
    return answer.status, answer.headers, json.loads(content) if is_json else content


def recognize(server, body, headers=()):
    """(status, the reason of an error or the genre) of a file."""
    status, _, content = ask(server, "POST", "/recognition", body, headers)
    return status, content["label"] if status == 200 else content["error"]["reason"]


def wait_until(condition):
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)
