"""One request to the page's server: the page itself, a recognition, or a recording made playable."""

import contextlib
import http.server
import io
import json
import logging
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO

from beam_preprocess.audio import Reject
from trainer.serving.web import answer, same_site
from trainer.serving.web.deadline import DeadlineReader
from trainer.serving.web.preview import as_wav
from trainer.serving.web.refusal import Refusal
from trainer.serving.web.upload import declared_bytes, received

if TYPE_CHECKING:
    from trainer.serving.web.server import Limits, PageServer

_BLOCK_BYTES = 1 << 18
# A second of lingering is worth so many bytes: a browser sends a large file to its own machine much faster, and one
# that sends a byte now and then is not to keep a seat.
_LINGER_BYTES_PER_S = 1_000_000


class Handler(http.server.BaseHTTPRequestHandler):
    """GET / is the page; POST /recognition and POST /wav take a file as their body, with its Content-Length.

    What cannot be done is answered with {"error": {"reason", "message", "detail"}}. One request a connection.
    """

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "listen", ""
    server: "PageServer"

    def setup(self) -> None:
        """Reads with a deadline and writes with a timeout."""
        super().setup()
        self.connection.settimeout(self.server.limits.head_s)
        self.rfile.close()
        self._reader = DeadlineReader(self.connection, self.server.limits.head_s)
        self.rfile = io.BufferedReader(self._reader)
        self._unread = False

    def handle(self) -> None:
        """Answers one request."""
        self.close_connection = True
        self.handle_one_request()

    def do_GET(self) -> None:
        """The page."""
        self._answer({"/": self._page})

    def do_POST(self) -> None:
        """What is made of a file."""
        self._unread = True
        self._answer({"/recognition": self._recognition, "/wav": self._wav})

    def _answer(self, routes: Mapping[str, Callable[[], None]]) -> None:
        try:
            same_site.check(self.headers, self.server.server_port)
            path = self.path.partition("?")[0]
            if path not in routes:
                raise Refusal(HTTPStatus.NOT_FOUND, "not_found", f"There is nothing at {self.command} {path}.")
            routes[path]()
        except Reject as reject:
            self._refuse(Refusal.of(reject))
        except Refusal as refusal:
            self._refuse(refusal)
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            logging.exception("a request failed")
            message = "The server failed at this file. Its terminal says more."
            self._refuse(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", message))

    def _page(self) -> None:
        text, policy = self.server.page
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "same-origin"}
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", len(text), headers)
        self.wfile.write(text)

    def _recognition(self) -> None:
        with self._file() as file, self.server.turn:
            recognition = self.server.recognizer.recognize(file, max_duration_s=self.server.limits.duration_s)
        self._send_json(HTTPStatus.OK, answer.to_json(recognition))

    def _wav(self) -> None:
        with contextlib.ExitStack() as stack:
            with self._file() as file, self.server.turn:
                wav = stack.enter_context(as_wav(file, max_duration_s=self.server.limits.duration_s))
            length = wav.seek(0, io.SEEK_END)
            wav.seek(0)
            self._send(HTTPStatus.OK, "audio/wav", length)
            shutil.copyfileobj(wav, self.wfile, _BLOCK_BYTES)

    @contextlib.contextmanager
    def _file(self) -> Iterator[BinaryIO]:
        """The request's body, when there is a place for it."""
        length = declared_bytes(self.headers, self.server.limits.upload_bytes)
        with self.server.place():
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.send_response_only(HTTPStatus.CONTINUE)
                self.end_headers()
            self._reader.ends = time.monotonic() + self.server.limits.body_s
            with received(self.rfile, length) as file:
                self._unread = False
                yield file

    def handle_expect_100(self) -> bool:
        """Is asked before the request is looked at; `_file` says it once it is known to be wanted."""
        return True

    def _refuse(self, refusal: Refusal) -> None:
        self._send_json(refusal.status, refusal.to_json())
        if self._unread:
            self._linger()

    def _linger(self) -> None:
        """Takes what a refused client still sends and throws it away: closed at once, it might not see the answer."""
        limits, begun, taken = self.server.limits, time.monotonic(), 0
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while True:
                self._reader.ends = begun + _patience_s(limits, taken)
                block = self.rfile.read1(_BLOCK_BYTES)
                if not block:
                    break
                taken += len(block)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses: a method that is not there, a head that is not HTTP."""
        self._refuse(Refusal(HTTPStatus(code), "bad_request", message or HTTPStatus(code).phrase))

    def _send_json(self, status: HTTPStatus, value: Mapping[str, object]) -> None:
        text = json.dumps(value).encode("utf-8")
        self._send(status, "application/json", len(text))
        self.wfile.write(text)

    def _send(self, status: HTTPStatus, kind: str, length: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        fixed = {
            "Content-Type": kind,
            "Content-Length": str(length),
            "Connection": "close",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in {**fixed, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - named by http.server
        """Nothing: the terminal is for what goes wrong in the server itself."""


def _patience_s(limits: "Limits", taken: int) -> float:
    """Seconds in all for which a refused client may send, after so many bytes."""
    return min(limits.linger_s + taken / _LINGER_BYTES_PER_S, limits.body_s)
