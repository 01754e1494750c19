"""The page's server: uvicorn on this machine only, with bounds on how many clients it has and for how long."""

import contextlib
import os
import socket
from asyncio import Protocol, Transport
from collections.abc import Iterator
from http import HTTPStatus

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tfrecords.common.command_line import UserError
from trainer.serving.web.app import HEADERS, App, Limits, refused
from trainer.serving.web.refusal import Refusal, busy

HOST = "127.0.0.1"
_BACKLOG = 128


def take_port(port: int) -> socket.socket:
    """Listens from now on, so that clients wait until they are answered; 0 is any port that is free.

    Raises:
      UserError: the port cannot be had.
    """
    try:
        return socket.create_server((HOST, port), backlog=_BACKLOG)
    except OSError as error:
        # Its own words name the address, too.
        words = os.strerror(error.errno or 0)
        raise UserError(f"--port={port} cannot be used: {words}; choose another, or 0 for any") from None


class Server(uvicorn.Server):
    """Answers when it is run with the socket of `take_port`; signals end it as they end the process around it."""

    def __init__(self, app: App, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=_protocol(limits),
                ws="none",
                lifespan="off",
                backlog=_BACKLOG,
                # The terminal is for what goes wrong in the server itself.
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves them to whoever has them."""
        yield


def _protocol(limits: Limits) -> type[Protocol]:
    """What uvicorn has no bound for: connections without a request, slow heads, and clients that take no answer."""

    class Connection(H11Protocol):
        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # Then writing is paused whenever a client has not taken all that was written.
            transport.set_write_buffer_limits(0)
            self._limit = self.loop.call_later(limits.head_s, self._end_without_request)
            if len(self.connections) > limits.connections:
                self._refuse(busy())

        def connection_lost(self, exc: Exception | None) -> None:
            self._limit.cancel()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._limit.cancel()
            self._limit = self.loop.call_later(limits.head_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._limit.cancel()

        def send_400_response(self, msg: str) -> None:
            self._refuse(Refusal(HTTPStatus.BAD_REQUEST, "bad_request", msg))

        def _end_without_request(self) -> None:
            if self.cycle is None:
                self.transport.abort()

        def _refuse(self, refusal: Refusal) -> None:
            """Answers, unless an answer has begun, and closes."""
            if self.cycle is None:
                response = refused(refusal)
                head = h11.Response(status_code=response.status_code, headers=[*response.raw_headers, *HEADERS])
                for event in (head, h11.Data(data=response.body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Connection
