"""Brings GTZAN into a directory, with a table of its tracks: from a mirror, an archive or a folder.

The archive, whose md5 is known, is downloaded from several mirrors in turn, resuming where an interruption left it.

What has arrived lies in a .part file, which gets the file's name once its md5 is right. Nothing else vouches for it: a
server may send a wrong length, ignore the range that was asked for, or hold another file than the mirror before it. No
library that resumes also checks all of this; urllib and a loop do.
"""

import contextlib
import dataclasses
import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from tqdm import tqdm

from beam_preprocess.gtzan import facts
from beam_preprocess.gtzan.unpack import copy_folder, describe, unpack_archive, verify
from beam_preprocess.inputs.archive import is_archive
from tfrecords.common.command_line import UserError
from tfrecords.common.files import lock_directory, open_regular, remove_temporary
from tfrecords.common.terminal import log

# Seconds between updates of the bar on a terminal, and between lines of a log.
_TERMINAL_EVERY_S, _LOG_EVERY_S = 0.2, 10.0
_BLOCK_BYTES = 1 << 18
# Of the statuses below 500, those that ask for another try: request timeout, too many requests.
_WORTH_ANOTHER_TRY = (408, 429)
_RANGE_NOT_SATISFIABLE = 416

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """When to give up.

    Attributes:
      attempts: fruitless attempts in a row after which a mirror is given up.
      backoff_s: seconds to wait after the first of them; each further wait is twice as long.
      timeout_s: seconds without a byte after which an attempt has failed.
      max_bytes: a longer file is refused.
      sleep: function that waits for a number of seconds.
    """

    attempts: int = 5
    backoff_s: float = 1.0
    timeout_s: float = 30.0
    max_bytes: int = 2 * 10**9
    sleep: Callable[[float], None] = time.sleep


_DEFAULT_POLICY = RetryPolicy()


class _MirrorError(Exception):
    """A mirror does not give the file."""


def download(mirrors: Sequence[str], path: Path, *, md5: str, retry: RetryPolicy = _DEFAULT_POLICY) -> None:
    """Download a file; where it exists, only check it.

    Args:
      mirrors: addresses of the file, in the order in which they are tried.
      path: of the file; its folder is made where it is missing.
      md5: of the file, hexadecimal.
      retry: when to give up.

    Raises:
      UserError: no mirror gives the file, an address is invalid, path is another file, or it cannot be written.
    """
    for mirror in mirrors:
        _check_url(mirror)
    if path.exists():
        if (actual := md5_of(path)) != md5:
            raise UserError(f"{path}: its md5 is {actual}, that of the published archive is {md5}; delete or move it")
        return
    _writing(path.parent, lambda: path.parent.mkdir(parents=True, exist_ok=True))
    part = path.with_name(f"{path.name}.part")
    reasons = []
    for mirror in mirrors:
        log(f"{mirror}: " + (f"resuming after {_size(part):,} bytes" if _size(part) else "downloading"))
        try:
            _from_mirror(mirror, part, md5, retry)
        except _MirrorError as error:
            reasons.append(f"{mirror}: {error}")
            continue
        _writing(part, lambda: part.replace(path))
        return
    raise UserError(
        f"{path.name} cannot be downloaded: {'; '.join(reasons)}; give `mirror=URL`, or `from=FILE` if you have it"
    )


def md5_of(path: Path) -> str:
    """Return the md5 of a file, hexadecimal.

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
        raise UserError(f"`mirror` must be an address that begins with https:// or http://, got {url!r}")


def _from_mirror(url: str, part: Path, md5: str, retry: RetryPolicy) -> None:
    """Complete a .part file from one mirror, until its md5 is right.

    Raises:
      _MirrorError: it holds another file, does not answer, or sends nothing new in several attempts.
    """
    # Bytes that another run or mirror left may be of another file.
    inherited = _size(part) > 0
    failures, most = 0, _size(part)
    while True:
        try:
            _attempt(url, part, retry)
        except (OSError, http.client.HTTPException) as error:
            failures = failures + 1 if _size(part) <= most else 1
            most = max(most, _size(part))
            if failures >= retry.attempts:
                raise _MirrorError(f"{_cause(error)}, {failures} times") from None
            wait_s = retry.backoff_s * 2 ** (failures - 1)
            log(f"{_cause(error)}; again in {wait_s:g} s")
            retry.sleep(wait_s)
            continue
        if (actual := md5_of(part)) == md5:
            return
        _writing(part, part.unlink)
        if not inherited:
            raise _MirrorError(f"holds another file: md5 {actual} instead of {md5}")
        log("the bytes of an earlier attempt do not belong to this file: downloading it from the start")
        inherited, most = False, 0


def _attempt(url: str, part: Path, retry: RetryPolicy) -> None:
    """Ask once for the missing bytes, and write what arrives.

    Raises:
      OSError, HTTPException: nothing arrived, or less than was announced; another attempt may help.
      _MirrorError: no other attempt would help.
    """
    begin = _size(part)
    # No compression for the transfer: ranges count the bytes of the file.
    headers = {"User-Agent": "music-genre-tfrecords", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    try:
        # The scheme is checked; urllib refuses redirections to any but http(s) and ftp.
        response = urllib.request.urlopen(  # noqa: S310
            urllib.request.Request(url, headers=headers),  # noqa: S310
            timeout=retry.timeout_s,
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == _RANGE_NOT_SATISFIABLE and begin:
                return
            if error.code < 500 and error.code not in _WORTH_ANOTHER_TRY:
                raise _MirrorError(f"{error.code} {error.reason}") from None
            raise
    with response:
        _receive(response, part, begin, retry)


def _receive(response: http.client.HTTPResponse, part: Path, begin: int, retry: RetryPolicy) -> None:
    resuming = response.status == http.client.PARTIAL_CONTENT
    if resuming and not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
        raise _MirrorError("sends another range than the one asked for")
    begin = begin if resuming else 0
    length = response.length
    end = begin + length if length else None
    received, logged = 0, time.monotonic()
    file = _writing(part, lambda: part.open("ab" if resuming else "wb"))
    with file, _progress_bar(part.stem, begin, end) as bar:
        while block := response.read1(_BLOCK_BYTES):
            received += len(block)
            if begin + received > retry.max_bytes:
                _writing(part, part.unlink)
                raise _MirrorError(f"sends more than {retry.max_bytes:,} bytes")
            _write(part, file, block)
            bar.update(len(block))
            if bar.disable and time.monotonic() - logged > _LOG_EVERY_S:
                logged = time.monotonic()
                log(f"{part.stem}: {begin + received:,}" + (f" of {end:,} bytes" if end else " bytes"))
    if length is not None and received < length:
        raise ConnectionError(f"the connection ended after {received:,} of {length:,} bytes")


def _progress_bar(name: str, begin: int, total: int | None) -> tqdm:
    """Return a bar, in bytes, that is erased in the end; in a log there is none."""
    return tqdm(
        desc=name,
        initial=begin,
        total=total,
        unit="B",
        unit_scale=True,
        leave=False,
        dynamic_ncols=True,
        mininterval=_TERMINAL_EVERY_S,
        disable=not sys.stderr.isatty(),
    )


def _write(part: Path, file: BinaryIO, block: bytes) -> None:
    # Flushed: a full disk is noticed here, and what has arrived survives a kill.
    _writing(part, lambda: (file.write(block), file.flush()))


def _writing(path: Path, action: Callable[[], _T]) -> _T:
    """Return what an action that writes returns; an error of the disk is no reason to ask the server again."""
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


def fetch(
    output: Path,
    *,
    source: Path | None = None,
    mirrors: Sequence[str],
    archive: str,
    md5: str,
    max_archive_bytes: int,
    retry: RetryPolicy | None = None,
) -> None:
    """Bring all clips into a directory, then write their table; what it already holds is kept.

    Args:
      output: directory, made where it is missing.
      source: an archive or a folder of this machine; None to download.
      mirrors: addresses of the archive, in the order in which they are tried.
      archive: its name in output.
      md5: of the published archive.
      max_archive_bytes: an archive that unpacks to more is refused.
      retry: when to give up a download.

    Raises:
      UserError: no mirror gives the archive, source is not GTZAN, output cannot be written, or another process writes
        to it.
    """
    with _made_and_locked(output):
        _remove_leftovers(output)
        clips = verify(output)
        if clips.problem is None:
            log(f"{output} holds GTZAN already: nothing to do")
        else:
            if clips.damage is not None:
                # Unpacking keeps files of the right size, so it would not replace these.
                raise UserError(f"{output}: {clips.damage}; delete these files and run the command again")
            if source is None:
                source = output / archive
                download(mirrors, source, md5=md5, retry=retry or RetryPolicy())
                unpack_archive(source, output, max_bytes=max_archive_bytes)
                log(f"{source} is no longer needed")
            else:
                _copy(source, output, md5, max_archive_bytes)
            clips = verify(output)
            if clips.problem is not None:
                raise UserError(f"{source}: not the whole of GTZAN: {clips.problem}")
        facts.write_table(output, clips.files)
    print(f"{output / facts.TABLE}:")
    for line in describe(clips):
        print(f"  {line}")


@contextlib.contextmanager
def _made_and_locked(output: Path) -> Iterator[None]:
    """Make a directory where it is missing, and lock it: two processes would fetch everything twice.

    A directory that was made and is still empty at the end is removed.
    """
    made = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}; choose another directory") from None
    try:
        with lock_directory(output, "fetching GTZAN"):
            yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                output.rmdir()


def _remove_leftovers(output: Path) -> None:
    """Remove the temporary files of killed processes. The output must be locked."""
    try:
        for directory in (output, *(output / genre for genre in facts.GENRES)):
            if directory.is_dir():
                remove_temporary(directory)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be used: {error.strerror}") from None


def _copy(source: Path, output: Path, md5: str, max_archive_bytes: int) -> None:
    """Copy the clips of an archive or a folder of this machine."""
    if source.is_dir():
        copy_folder(source, output)
    elif not source.exists():
        raise UserError(f"{source}: no such file or folder")
    elif not is_archive(str(source)):
        raise UserError(f"{source}: must be a .tar, .tar.gz or .tgz; unpack others and give the folder")
    else:
        if (actual := md5_of(source)) != md5:
            log(f"{source}: md5 {actual} is not that of the published archive ({md5}); its content decides")
        unpack_archive(source, output, max_bytes=max_archive_bytes)
