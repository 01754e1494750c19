"""The ASGI application of the page: it answers with the page, a recognition, or a recording converted to WAV.

The page is one HTML document, put together from the files in the folder `page`; it loads nothing else.
"""

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import html
import json
import string
from collections.abc import AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from beam_preprocess.audio import EXTENSIONS, Reject
from trainer.reports.page import CSS
from trainer.serving.recognizer import DecodedTrack
from trainer.serving.web import uploads
from trainer.serving.web.uploads import Refusal, busy, recognition_to_json

if TYPE_CHECKING:
    from trainer.serving.recognizer import Recognizer
    from trainer.serving.similarity import Collection

_FOLDER = Path(__file__).parent / "page"
# In this order: page.js uses the others.
_SCRIPTS = ("upload.js", "spectrogram.js", "timeline.js", "stage.js", "player.js", "result.js", "page.js")
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; "
    "img-src data:; media-src blob:; style-src '{style}'; script-src '{script}'"
)


def page(facts: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return the page and its Content-Security-Policy, which allows its own script and requests to its own server.

    Args:
      facts: about the model and the limits, JSON: see `facts` in page.js.
    """
    style = CSS + _read("page.css")
    script = "\n".join(["", '"use strict";', *(_read(name) for name in _SCRIPTS)])
    text = string.Template(_read("page.html")).substitute(
        style=style, script=script, facts=html.escape(json.dumps(facts)), endings=",".join(EXTENSIONS)
    )
    return text.encode("utf-8"), _POLICY.format(style=_hash(style), script=_hash(script))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


def _hash(text: str) -> str:
    """Return the hash of an inline style or script as a policy spells it (Content Security Policy Level 2, 4.2.5)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


# Sent with every response. A connection serves one request, so that no client keeps its place after its answer.
HEADERS = [
    (b"connection", b"close"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_HOSTS = ("127.0.0.1", "localhost")
_BLOCK_BYTES = 1 << 18
# Tracks that sound like the file.
_NEIGHBOURS = 5
# A refused client must send at least so fast to keep its connection; a browser sends to its own machine much faster.
_LINGER_BYTES_PER_S = 1_000_000


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on what clients may ask for, all above 0.

    Attributes:
      upload_bytes: in a file.
      duration_s: of a file's audio.
      connections: open at once; further clients are told that the server is busy.
      files: received, waiting or being recognized at once, so that all take at most files * upload_bytes; further ones
        are told that the server is busy.
      head_s: seconds for the head of a request to arrive, and for a client to take a block of the answer.
      body_s: seconds for the file to arrive.
      linger_s: seconds that a refused client has to send the rest of its file; each megabyte that arrives adds one, up
        to body_s.

    Raises:
      ValueError: a bound is not above 0.
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


class Similar(NamedTuple):
    """What finds the tracks that sound like a recording.

    Attributes:
      embedder: gives embeddings; of the same front end as the page's recognizer.
      collection: of embeddings by the same model.
    """

    embedder: "Recognizer"
    collection: "Collection"


class App:
    """GET / is the page; POST /recognition and POST /wav take a file as their body, with its Content-Length.

    Errors are answered with {"error": {"reason", "message", "detail"}}. One file is recognized at a time.

    Args:
      recognizer: names the genres.
      limits: of each client and of all together.
      port: that the server listens on.
      facts: what the page shows about the model.
      similar: finds tracks that sound alike, if any.
    """

    def __init__(
        self,
        recognizer: "Recognizer",
        limits: Limits,
        port: int,
        facts: Mapping[str, Any],
        similar: "Similar | None" = None,
    ) -> None:
        self._recognizer = recognizer
        self._similar = similar
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
            exception_handlers=dict.fromkeys((Refusal, Reject, HTTPException, Exception), _error_response),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a client that is refused while it still sends its file may send the rest."""
        received_all = False

        async def receive_and_note() -> Message:
            nonlocal received_all
            message = await receive()
            received_all = not message.get("more_body", False)
            return message

        async def send_and_linger(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send({**message, "headers": [*message["headers"], *HEADERS]})
            elif message.get("more_body", False):
                await send(message)
            else:
                await send({**message, "more_body": True})
                if not received_all:
                    await self._linger(receive)
                await send({"type": "http.response.body"})

        refusal = check_origin(Headers(scope=scope), self._port)
        answer = refusal_response(refusal) if refusal else self._routes
        await answer(scope, receive_and_note, send_and_linger)

    async def _page(self, request: Request) -> Response:
        headers = {"Content-Security-Policy": self._policy, "Referrer-Policy": "same-origin"}
        return HTMLResponse(self._html, headers=headers)

    async def _recognition(self, request: Request) -> Response:
        async with self._upload(request) as file, self._turn:
            answer = await run_in_threadpool(self._recognize, file)
        return JSONResponse(answer)

    def _recognize(self, file: BinaryIO) -> dict[str, Any]:
        recognition = self._recognizer.recognize(file, max_duration_s=self._limits.duration_s)
        answer = recognition_to_json(recognition)
        if self._similar is None:
            return answer
        track = DecodedTrack(recognition.log_mel, recognition.duration_s, recognition.note)
        embedding = self._similar.embedder.classify([track])[0].embedding
        found = [] if embedding is None else self._similar.collection.nearest(embedding, _NEIGHBOURS)
        return answer | {"sounds_like": [neighbour.to_json() for neighbour in found]}

    async def _wav(self, request: Request) -> Response:
        with contextlib.ExitStack() as stack:
            async with self._upload(request) as file, self._turn:
                wav = stack.enter_context(uploads.nameless_file())
                length = await run_in_threadpool(uploads.write_wav, file, wav, max_duration_s=self._limits.duration_s)
            blocks = _blocks(wav, stack.pop_all())
        return StreamingResponse(blocks, media_type="audio/wav", headers={"Content-Length": str(length)})

    @contextlib.asynccontextmanager
    async def _upload(self, request: Request) -> AsyncIterator[BinaryIO]:
        """Receive the request's body, if there is a free place for it, which it keeps until the block ends."""
        length = uploads.declared_bytes(request.headers, self._limits.upload_bytes)
        if self._places.locked():
            raise busy()
        async with self._places:
            with uploads.empty_file(length) as file:
                await uploads.receive(request, file, self._limits.body_s)
                yield file

    async def _linger(self, receive: Receive) -> None:
        """Discard what a refused client still sends: it might miss the answer if the connection were closed at once."""
        start, received, more = asyncio.get_running_loop().time(), 0, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as timeout:
                while more:
                    timeout.reschedule(start + linger_limit_s(self._limits, received))
                    message = await receive()
                    received += len(message.get("body", b""))
                    more = message.get("more_body", False)


def linger_limit_s(limits: Limits, received: int) -> float:
    """Return for how many seconds in all a refused client may send, after it has sent `received` bytes."""
    return min(limits.linger_s + received / _LINGER_BYTES_PER_S, limits.body_s)


def check_origin(headers: Headers, port: int) -> Refusal | None:
    """Refuse requests that other web sites make through a browser on this machine.

    Every page that is open in such a browser can reach the loopback interface. There are two ways, each with its check:

    - DNS rebinding: the site points a name of its own at 127.0.0.1. Then the Host header names the site.
    - A plain cross-site request. Then the Origin header, which browsers send with every POST, names the site.

    A request without Origin, as from curl, comes from a program on this machine and is answered.

    Args:
      headers: of the request.
      port: that the server listens on.
    """
    hosts = {f"{host}:{port}" for host in _HOSTS} | (set(_HOSTS) if port == 80 else set())
    if headers.getlist("Host") not in [[host] for host in hosts]:
        return Refusal(HTTPStatus.FORBIDDEN, "other_host", f"This server answers at http://127.0.0.1:{port} only.")
    if headers.getlist("Origin") not in [[], *([f"http://{host}"] for host in hosts)]:
        return Refusal(HTTPStatus.FORBIDDEN, "other_site", "Requests from other sites are not answered.")
    return None


def refusal_response(refusal: Refusal) -> Response:
    """Return a refusal as an HTTP response."""
    return JSONResponse(refusal.to_json(), refusal.status)


async def _error_response(request: Request, error: Exception) -> Response:
    if isinstance(error, Refusal):
        return refusal_response(error)
    if isinstance(error, Reject):
        return refusal_response(Refusal.from_reject(error))
    if isinstance(error, HTTPException):
        message = f"There is nothing at {request.method} {request.url.path}."
        return refusal_response(Refusal(HTTPStatus.NOT_FOUND, "not_found", message))
    # Starlette raises the error again, and uvicorn prints its traceback.
    message = "The server failed at this file. Its terminal says more."
    return refusal_response(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", message))


def _blocks(file: BinaryIO, closing: contextlib.ExitStack) -> Iterator[bytes]:
    with closing:
        while block := file.read(_BLOCK_BYTES):
            yield block
