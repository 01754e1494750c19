"""What the page's server answers: the page itself, a recognition, or a recording made playable."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, BinaryIO

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from beam_preprocess.audio import Reject
from trainer.serving.web import answer, files
from trainer.serving.web.page_source import page
from trainer.serving.web.refusal import Refusal, busy

if TYPE_CHECKING:
    from trainer.serving.recognizer import Recognizer

# With every answer. One request a connection, so that no client keeps its seat when it has been answered.
HEADERS = [
    (b"connection", b"close"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_NAMES = ("127.0.0.1", "localhost")
_BLOCK_BYTES = 1 << 18
# A second of lingering is worth so many bytes: a browser sends a large file to its own machine much faster, and one
# that sends a byte now and then is not to keep a seat.
_LINGER_BYTES_PER_S = 1_000_000


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


class App:
    """GET / is the page; POST /recognition and POST /wav take a file as their body, with its Content-Length.

    What cannot be done is answered with {"error": {"reason", "message", "detail"}}. One file is listened to at a time.
    """

    def __init__(self, recognizer: "Recognizer", limits: Limits, port: int, facts: Mapping[str, Any]) -> None:
        """An application of ASGI.

        Args:
          recognizer: what names the genres.
          limits: of each client and of all together.
          port: that the server listens on.
          facts: what the page says of the model.
        """
        self._recognizer = recognizer
        self._limits = limits
        self._port = port
        self._html, self._policy = page({**facts, "upload_bytes": limits.upload_bytes, "duration_s": limits.duration_s})
        self._places = asyncio.Semaphore(limits.files)
        self._turn = asyncio.Lock()
        self._routes = Starlette(
            routes=[
                Route("/", self._page),
                Route("/recognition", self._recognition, methods=["POST"]),
                Route("/wav", self._wav, methods=["POST"]),
            ],
            exception_handlers=dict.fromkeys((Refusal, Reject, HTTPException, Exception), _explained),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, and lets a client that is refused before it has sent its file send the rest."""
        whole = False

        async def receive_and_note() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def send_and_linger(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send({**message, "headers": [*message["headers"], *HEADERS]})
            elif message.get("more_body", False):
                await send(message)
            else:
                await send({**message, "more_body": True})
                if not whole:
                    await self._linger(receive)
                await send({"type": "http.response.body"})

        refusal = foreign(Headers(scope=scope), self._port)
        answer_it = refused(refusal) if refusal else self._routes
        await answer_it(scope, receive_and_note, send_and_linger)

    async def _page(self, request: Request) -> Response:
        headers = {"Content-Security-Policy": self._policy, "Referrer-Policy": "same-origin"}
        return HTMLResponse(self._html, headers=headers)

    async def _recognition(self, request: Request) -> Response:
        async with self._file(request) as file, self._turn:
            recognition = await run_in_threadpool(
                self._recognizer.recognize, file, max_duration_s=self._limits.duration_s
            )
        return JSONResponse(answer.to_json(recognition))

    async def _wav(self, request: Request) -> Response:
        with contextlib.ExitStack() as stack:
            async with self._file(request) as file, self._turn:
                wav = stack.enter_context(files.nameless())
                length = await run_in_threadpool(files.write_wav, file, wav, max_duration_s=self._limits.duration_s)
            blocks = _blocks(wav, stack.pop_all())
        return StreamingResponse(blocks, media_type="audio/wav", headers={"Content-Length": str(length)})

    @contextlib.asynccontextmanager
    async def _file(self, request: Request) -> AsyncIterator[BinaryIO]:
        """The request's body, when there is a place for it."""
        length = files.declared_bytes(request.headers, self._limits.upload_bytes)
        if self._places.locked():
            raise busy()
        async with self._places:
            with files.empty_file(length) as file:
                await files.receive(request, file, self._limits.body_s)
                yield file

    async def _linger(self, receive: Receive) -> None:
        """Takes what a refused client still sends and throws it away: closed at once, it might not see the answer."""
        begun, taken, more = asyncio.get_running_loop().time(), 0, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as timeout:
                while more:
                    timeout.reschedule(begun + patience_s(self._limits, taken))
                    message = await receive()
                    taken += len(message.get("body", b""))
                    more = message.get("more_body", False)


def patience_s(limits: Limits, taken: int) -> float:
    """Seconds in all for which a refused client may send, after so many bytes."""
    return min(limits.linger_s + taken / _LINGER_BYTES_PER_S, limits.body_s)


def foreign(headers: Headers, port: int) -> Refusal | None:
    """Keeps other web sites out: what a browser sends for them is refused.

    The server listens on the loopback interface, which every page open in this machine's browser can reach too. Two
    ways lead from such a page to a local server, and each has its check:

    - A name of the site's own that is made to point at 127.0.0.1 (DNS rebinding): then Host names the site.
    - A plain cross-site request: then Origin, which a browser sends with every POST, names the site.

    What no browser sent (no Origin, as from curl) comes from a program of this machine, and is answered.

    Args:
      headers: of the request.
      port: that the server listens on.
    """
    hosts = {f"{name}:{port}" for name in _NAMES} | (set(_NAMES) if port == 80 else set())
    if headers.getlist("Host") not in [[host] for host in hosts]:
        return Refusal(HTTPStatus.FORBIDDEN, "other_host", f"This server answers at http://127.0.0.1:{port} only.")
    if headers.getlist("Origin") not in [[], *([f"http://{host}"] for host in hosts)]:
        return Refusal(HTTPStatus.FORBIDDEN, "other_site", "Requests from other sites are not answered.")
    return None


def refused(refusal: Refusal) -> Response:
    """A refusal as an answer."""
    return JSONResponse(refusal.to_json(), refusal.status)


async def _explained(request: Request, error: Exception) -> Response:
    if isinstance(error, Refusal):
        return refused(error)
    if isinstance(error, Reject):
        return refused(Refusal.of(error))
    if isinstance(error, HTTPException):
        message = f"There is nothing at {request.method} {request.url.path}."
        return refused(Refusal(HTTPStatus.NOT_FOUND, "not_found", message))
    # uvicorn tells the terminal.
    message = "The server failed at this file. Its terminal says more."
    return refused(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", message))


def _blocks(file: BinaryIO, closing: contextlib.ExitStack) -> Iterator[bytes]:
    with closing:
        while block := file.read(_BLOCK_BYTES):
            yield block
