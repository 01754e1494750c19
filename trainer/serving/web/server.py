"""The server of the page and of exported models: uvicorn, with bounds on the number and time of its clients."""

import contextlib
import socket
from asyncio import Protocol, Transport
from collections.abc import Iterator
from http import HTTPStatus

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from trainer.serving.web.app import HEADERS, Limits, refusal_response
from trainer.serving.web.uploads import Refusal, busy

HOST = "127.0.0.1"
_BACKLOG = 128


def take_port(port: int, host: str = HOST) -> socket.socket:
    """Return a listening socket, whose clients wait until they are answered; port 0 is any free one.

    Raises:
      OSError: the port or the host cannot be used.
    """
    return socket.create_server((host, port), backlog=_BACKLOG)


class Server(uvicorn.Server):
    """Serves the application when it is run with the socket of `take_port`; signals are left to the process."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=_protocol(limits),
                ws="none",
                lifespan="off",
                backlog=_BACKLOG,
                # Only errors of the server itself are printed.
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


def _protocol(limits: Limits) -> type[Protocol]:
    """Return uvicorn's protocol with bounds on connections without a request, slow heads and slow readers."""

    # uvicorn has no option for any of these, and a middleware comes too late: it is called once the head has arrived,
    # and send() returns before the client has read. limit_concurrency also refuses only then, so that idle connections
    # have no limit. Timeouts of a socket do not apply to asyncio, which does not block. So the bounds are set where
    # asyncio tells of connections and of full buffers, in methods of asyncio.Protocol; of uvicorn's own, `cycle` (the
    # request that is being answered), `conn`, `connections` and `send_400_response` are used.
    class Connection(H11Protocol):
        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # So that writing is paused until the client has taken all of it.
            transport.set_write_buffer_limits(0)
            self._timer = self.loop.call_later(limits.head_s, self._abort_without_request)
            if len(self.connections) > limits.connections:
                self._refuse(busy())

        def connection_lost(self, exc: Exception | None) -> None:
            self._timer.cancel()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._timer.cancel()
            self._timer = self.loop.call_later(limits.head_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._timer.cancel()

        def send_400_response(self, msg: str) -> None:
            self._refuse(Refusal(HTTPStatus.BAD_REQUEST, "bad_request", msg))

        def _abort_without_request(self) -> None:
            if self.cycle is None:
                self.transport.abort()

        def _refuse(self, refusal: Refusal) -> None:
            """Answer, unless another answer has begun, and close the connection."""
            if self.cycle is None:
                response = refusal_response(refusal)
                head = h11.Response(status_code=response.status_code, headers=[*response.raw_headers, *HEADERS])
                for event in (head, h11.Data(data=response.body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Connection
