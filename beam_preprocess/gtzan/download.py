"""Progress of a download: bytes there, of how many, and how fast; one line on a terminal, a few in a log.

Downloads one file whose md5 is known: from several mirrors in turn, going on where an interruption left it.

What is there lies in a .part file, which gets the file's name once its md5 is right. Nothing else vouches for it: a
server may lie about the length, ignore that a range was asked for, or hold another file than the mirror before it.
"""

import dataclasses
import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Self, TextIO, TypeVar

from tfrecords.common.command_line import UserError
from tfrecords.common.files import open_regular
from tfrecords.common.terminal import TerminalLine, log

_MB = 1e6
_TERMINAL_EVERY_S, _LOG_EVERY_S = 0.2, 10.0
_WIDTH = 30


class ProgressBar:
    """Shows how far a download is while the block runs.

    Args:
      name: of what is downloaded.
      begin: bytes that were there before.
      total: bytes in all, or None where nobody knows.
      stream: standard error by default.
    """

    def __init__(self, name: str, begin: int, total: int | None, stream: TextIO | None = None) -> None:
        self._name, self._begin, self._total = name, begin, total
        self._terminal = TerminalLine(stream)
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._terminal.clear()

    def show(self, there: int) -> None:
        """Shows that so many bytes are there, unless the last time is only just past."""
        now = time.monotonic()
        if now - self._shown < (_TERMINAL_EVERY_S if self._terminal.drawn else _LOG_EVERY_S):
            return
        self._shown = now
        if self._terminal.drawn:
            self._terminal.show(self.line(there, now))
        else:
            print(self.line(there, now), file=self._terminal.stream, flush=True)

    def line(self, there: int, now: float) -> str:
        """What is done so far; `now` as time.monotonic gives it."""
        speed = (there - self._begin) / _MB / max(1e-3, now - self._began)
        if not self._total:
            return f"{self._name}: {there / _MB:,.0f} MB, {speed:.1f} MB/s"
        full = round(_WIDTH * min(1.0, there / self._total))
        left_s = (self._total - there) / _MB / max(1e-3, speed)
        return (
            f"{self._name}: [{'#' * full}{'.' * (_WIDTH - full)}] {there / _MB:,.0f} of {self._total / _MB:,.0f} MB, "
            f"{speed:.1f} MB/s, {left_s:,.0f} s left"
        )


_BLOCK_BYTES = 1 << 18
# The client's fault or the server's last word; to ask again would not help. 408 and 429 ask for another try.
_WORTH_ANOTHER_TRY = (408, 429)
_RANGE_NOT_THERE = 416

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """How long to try.

    Attributes:
      attempts: of one mirror, in a row, that bring nothing new.
      backoff_s: seconds to wait after the first of them; each further one waits twice as long.
      timeout_s: seconds without a byte after which an attempt is given up.
      max_bytes: a file that is longer is refused.
      sleep: waits so many seconds.
    """

    attempts: int = 5
    backoff_s: float = 1.0
    timeout_s: float = 30.0
    max_bytes: int = 2 * 10**9
    sleep: Callable[[float], None] = time.sleep


_PATIENCE = RetryPolicy()


class _MirrorError(Exception):
    """This mirror will not give the file."""


def download(mirrors: Sequence[str], path: Path, *, md5: str, patience: RetryPolicy = _PATIENCE) -> None:
    """Makes path the file with that md5; one that is there is only checked.

    Raises:
      UserError: no mirror gives it, an address is none, another file lies there, or it cannot be written.
    """
    for mirror in mirrors:
        _check_url(mirror)
    if path.exists():
        if (found := md5_of(path)) != md5:
            raise UserError(f"{path}: its md5 is {found}, that of the published archive is {md5}; delete or move it")
        return
    _writing(path.parent, lambda: path.parent.mkdir(parents=True, exist_ok=True))
    part = path.with_name(f"{path.name}.part")
    reasons = []
    for mirror in mirrors:
        log(f"{mirror}: " + (f"going on after {_size(part):,} bytes" if _size(part) else "downloading"))
        try:
            _from_mirror(mirror, part, md5, patience)
        except _MirrorError as error:
            reasons.append(f"{mirror}: {error}")
            continue
        _writing(part, lambda: part.replace(path))
        return
    raise UserError(
        f"{path.name} cannot be downloaded: {'; '.join(reasons)}; give --mirror=URL, or --from=FILE if you have it"
    )


def md5_of(path: Path) -> str:
    """The md5 of a file, hexadecimal.

    Raises:
      UserError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _check_url(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isascii() and url.isprintable()
    except ValueError:
        good = False
    if not good or " " in url:
        raise UserError(f"--mirror must be an address that begins with https:// or http://, got {url!r}")


def _from_mirror(url: str, part: Path, md5: str, patience: RetryPolicy) -> None:
    """Fills part from one mirror, until its md5 is right.

    Raises:
      _MirrorError: it holds another file, does not answer, or brings nothing new in several attempts.
    """
    inherited = _size(part) > 0
    failures, most = 0, _size(part)
    while True:
        try:
            _attempt(url, part, patience)
        except (OSError, http.client.HTTPException) as error:
            failures = failures + 1 if _size(part) <= most else 1
            most = max(most, _size(part))
            if failures >= patience.attempts:
                raise _MirrorError(f"{_cause(error)}, {failures} times") from None
            wait_s = patience.backoff_s * 2 ** (failures - 1)
            log(f"{_cause(error)}; again in {wait_s:g} s")
            patience.sleep(wait_s)
            continue
        if (found := md5_of(part)) == md5:
            return
        _writing(part, part.unlink)
        if not inherited:
            raise _MirrorError(f"holds another file: md5 {found} instead of {md5}")
        log("what was there already does not belong to this file: from the start")
        inherited, most = False, 0


def _attempt(url: str, part: Path, patience: RetryPolicy) -> None:
    """Asks once for what is missing, and writes what comes.

    Raises:
      OSError, HTTPException: it came to nothing, or to less than was promised; another try may help.
      _MirrorError: no other try would help.
    """
    begin = _size(part)
    # Compressed on the way, the bytes would not be those of the file.
    headers = {"User-Agent": "music-genre-tfrecords", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    try:
        # The scheme is checked; a redirection to another one than http(s) or ftp is refused by urllib.
        response = urllib.request.urlopen(  # noqa: S310
            urllib.request.Request(url, headers=headers),  # noqa: S310
            timeout=patience.timeout_s,
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == _RANGE_NOT_THERE and begin:
                return
            if error.code < 500 and error.code not in _WORTH_ANOTHER_TRY:
                raise _MirrorError(f"{error.code} {error.reason}") from None
            raise
    with response:
        _receive(response, part, begin, patience)


def _receive(response: http.client.HTTPResponse, part: Path, begin: int, patience: RetryPolicy) -> None:
    resuming = response.status == http.client.PARTIAL_CONTENT
    if resuming and not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
        raise _MirrorError("sends another range than the one asked for")
    begin = begin if resuming else 0
    length = response.length
    received = 0
    file = _writing(part, lambda: part.open("ab" if resuming else "wb"))
    with file, ProgressBar(part.stem, begin, begin + length if length else None) as bar:
        while block := response.read1(_BLOCK_BYTES):
            received += len(block)
            if begin + received > patience.max_bytes:
                _writing(part, part.unlink)
                raise _MirrorError(f"sends more than {patience.max_bytes:,} bytes")
            _write(part, file, block)
            bar.show(begin + received)
    if length is not None and received < length:
        raise ConnectionError(f"the connection ended after {received:,} of {length:,} bytes")


def _write(part: Path, file: BinaryIO, block: bytes) -> None:
    # Flushed, so that a full disk is noticed here and what has come survives a kill.
    _writing(part, lambda: (file.write(block), file.flush()))


def _writing(path: Path, action: Callable[[], _T]) -> _T:
    """What the action gives; an error of this machine's disk is no reason to ask the server again."""
    try:
        return action()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _cause(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    reason = getattr(error, "reason", None) or error
    return " ".join((getattr(reason, "strerror", None) or str(reason) or type(reason).__name__).split())
