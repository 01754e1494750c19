"""The server of the page: on this machine only, with bounds on all that a client can make it hold or do."""

import contextlib
import dataclasses
import http.server
import json
import logging
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tfrecords.command_line import UserError
from trainer.serving.web.handler import Handler
from trainer.serving.web.page_source import page
from trainer.serving.web.refusal import Refusal

if TYPE_CHECKING:
    from trainer.serving.recognizer import Recognizer

HOST = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a client may ask for.

    Attributes:
      upload_bytes: in a file; above 0.
      duration_s: of its audio; above 0.
      connections: open at once; one more is told that the server is busy. At least 1.
      files: held at once, being received, waiting or listened to, so that all take at most files * upload_bytes; one
        more is told so too. At least 1.
      head_s: seconds for the head of a request to arrive, and for a client to take a block of the answer.
      body_s: seconds for the file to arrive.
      linger_s: seconds that a refused client may take to send the rest of its file; it gets one more for each megabyte
        that arrives, up to body_s.

    Raises:
      ValueError: one of them is not above 0.
    """

    upload_bytes: int
    duration_s: float
    connections: int = 64
    files: int = 16
    head_s: float = 10
    body_s: float = 120
    linger_s: float = 2

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")


class PageServer(http.server.ThreadingHTTPServer):
    """Listens from its making on, and answers once `serve_forever` is called and it has a `recognizer`.

    Attributes:
      limits: of each client and of all together.
      recognizer: what names the genres; one file at a time.
      turn: held by the thread that decodes or recognizes.
      page: its HTML, and the Content-Security-Policy that goes with it.
    """

    daemon_threads = True  # A slow client must not keep the command from ending.
    request_queue_size = 128

    recognizer: "Recognizer"

    def __init__(self, port: int, limits: Limits, *, facts: Mapping[str, Any] | None = None) -> None:
        """Takes the port; 0 is any that is free.

        Raises:
          UserError: the port cannot be had.
        """
        self.limits = limits
        self.turn = threading.Lock()
        self._places = threading.BoundedSemaphore(limits.files)
        self._seats = threading.BoundedSemaphore(limits.connections)
        self.page = page({**(facts or {}), "upload_bytes": limits.upload_bytes, "duration_s": limits.duration_s})
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise UserError(f"--port={port} cannot be used: {error.strerror}; choose another, or 0 for any") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one file.

        Raises:
          Refusal: all are taken.
        """
        if not self._places.acquire(blocking=False):
            raise _busy()
        try:
            yield
        finally:
            self._places.release()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection, unless there are too many."""
        if self._seats.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
                return
            except (RuntimeError, MemoryError):
                # The system has no thread to spare, so that none will give the seat back.
                self._seats.release()
        body = json.dumps(_busy().to_json()).encode("utf-8")
        head = f"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        # Not waited for: this thread is the one that all others wait for.
        with contextlib.suppress(OSError):
            request.send(f"{head}Connection: close\r\n\r\n".encode("ascii") + body, socket.MSG_DONTWAIT)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers a connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._seats.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or is too slow to take its answer, is no fault of the server."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            logging.exception("a connection failed")


def _busy() -> Refusal:
    message = "The server has as many files as it can hold. Try again in a moment."
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message)
