"""Labelled audio in an archive (.tar, .tar.gz): listed from its headers, then unpacked where every worker can read it.

An archive can only be read from front to back, so it is read twice. Unpacked files are named by a member's number and
extension only: no path in an archive can lead out of the directory, be too long for it, or collide with another one
that differs only in upper and lower case.
"""

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO, Self, cast

from beam_preprocess import storage
from beam_preprocess.audio.formats import HEAD_BYTES, Selection
from beam_preprocess.config import ARCHIVES, JobConfig, archive_stem
from beam_preprocess.inputs.tracks import Track, absolute, log_selection, track_in_folder
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log
from tfrecords.manifest import PARTIAL_DIR
from tfrecords.storage import identity as identity_of

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 1 << 20
# Long names and the like are in headers of their own, which tarfile reads into memory as a whole.
_MAX_LONG_HEADER_BYTES = 1 << 20


def is_archive(source: str) -> bool:
    """Return whether an input is an archive, by its name; folders with such a name are not."""
    return source.lower().endswith(ARCHIVES) and not os.path.isdir(source)  # noqa: PTH112


def list_archive(config: JobConfig) -> list[Track]:
    """Return all tracks of an archive, sorted by track_id; `unpack` writes the files of their uris.

    A track_id is the path in the archive, without the one folder that contains all audio, if there is such a folder.

    Raises:
      UserError: the archive does not exist, is damaged, unpacks to too much, has a path that leads out of it, or holds
        no audio.
    """
    source = config.source
    log(f"{source}: listing the archive")
    folder = _folder(source, config.output)
    files: dict[str, tuple[str, int]] = {}
    selection = Selection()
    left_out = 0
    for number, (path, member, archive) in enumerate(members(source, config.max_archive_bytes)):
        if member.isreg() and selection.takes(path, functools.partial(_head, source, archive, member)):
            # The later of two members with one path wins, as when unpacked by hand.
            files[path] = (_uri(folder, number, path), member.size)
        left_out += not (member.isreg() or member.isdir())
    if left_out:
        log(f"{source}: {left_out} links or devices are left out")
    # Files in no folder are labelled as if the archive had been unpacked into a folder of its name.
    root = stem = archive_stem(source)
    tops = {path.partition("/")[0] for path in files}
    if len(tops) == 1 and all("/" in path for path in files):
        root = f"{stem}/{tops.pop()}"
    tracks = []
    for path, (uri, size) in files.items():
        track = track_in_folder(f"{stem}/{path}", size, root=root, label_folder=config.label_folder)
        tracks.append(dataclasses.replace(track, uri=uri, origin=f"{absolute(source)}/{path}"))
    log_selection(source, selection, tracks, "no audio file in this archive")
    return sorted(tracks, key=lambda track: track.track_id)


def _head(source: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the first bytes of a member, which may show the format where its name does not."""
    with _reading(source):
        data = archive.extractfile(member)
        return data.read(HEAD_BYTES) if data else b""


def unpack(config: JobConfig, tracks: Sequence[Track]) -> None:
    """Write the tracks of `list_archive` to their uris; existing files are kept.

    Raises:
      UserError: the archive has changed or cannot be read, or the output cannot be written.
    """
    with storage.reporting(f"{config.output} cannot be used"):
        folder = storage.split(tracks[0].uri)[0]
        storage.make_directories(folder)
        # A file has its final name once it is whole, so names and sizes show what is left to do.
        existing = {storage.join(folder, name): size for name, size in storage.list_files(folder).items()}
    missing = {track.uri: track.size for track in tracks if existing.get(track.uri) != track.size}
    if not missing:
        return
    log(f"{config.source}: unpacking {len(missing)} of {len(tracks)} files")
    for number, (path, member, archive) in enumerate(members(config.source, config.max_archive_bytes)):
        uri = _uri(folder, number, path)
        if uri in missing and missing[uri] == member.size and member.isreg():
            _write(config, uri, blocks(config.source, archive, member))
            del missing[uri]
    if missing:
        raise UserError(f"{config.source}: changed while it was read; run the command again")


def _write(config: JobConfig, uri: str, blocks: Iterator[bytes]) -> None:
    with storage.reporting(f"{config.output} cannot be used"):
        output = absolute(config.output)
        name = f"{PARTIAL_DIR}/{uri[len(storage.partial_dir(output)) + 1 :]}"
        with storage.replacing(output, name) as file:
            for block in blocks:
                file.write(block)


def _folder(source: str, output: str) -> str:
    """Return the directory that an archive is unpacked to: another one for each archive and each version of it."""
    with storage.reporting(f"{source}: cannot be read"):
        uri = absolute(source)
        identity = f"{uri}:{identity_of(uri)}"
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    with storage.reporting(f"{output} cannot be used"):
        # Workers may run in another directory than the launcher.
        return storage.join(storage.partial_dir(absolute(output)), "unpacked", digest)


def _uri(folder: str, number: int, path: str) -> str:
    return storage.join(folder, f"{number:06d}{PurePosixPath(path).suffix.lower()}")


def members(source: str, max_bytes: int) -> Generator[tuple[str, tarfile.TarInfo, tarfile.TarFile], None, None]:
    """Yield path, header and archive for each member, from front to back; `blocks` can read its data until the next.

    Raises:
      UserError: the archive cannot be read, is damaged, unpacks to more than max_bytes, or has a path that leads out of
        it.
    """
    with _reading(source), storage.open_file(source) as file, _decompressed(file) as stream:
        total = 0
        with tarfile.open(
            fileobj=stream, mode="r|", bufsize=_BLOCK_BYTES, tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            while (member := archive.next()) is not None:
                # tarfile would keep every header.
                archive.members.clear()  # type: ignore[attr-defined]
                total += tarfile.BLOCKSIZE + member.size
                _limit(source, total, max_bytes)
                yield _checked_path(source, member.name), member, archive
        # The rest is padding, followed by gzip's checksum, which must be read to be checked.
        while block := stream.read(_BLOCK_BYTES):
            total += len(block)
            _limit(source, total, max_bytes)


def blocks(source: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    """Yield the data of the member that `members` has just yielded.

    Raises:
      UserError: the archive cannot be read.
    """
    with _reading(source):
        data = archive.extractfile(member)
        while data and (block := data.read(_BLOCK_BYTES)):
            yield block


@contextlib.contextmanager
def _reading(source: str) -> Iterator[None]:
    """Turn errors of reading an archive into UserError."""
    with storage.reporting(f"{source}: cannot be read"):
        try:
            yield
        except UserError:
            raise
        # RecursionError: tarfile follows a chain of headers recursively. ValueError: numbers in headers.
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RecursionError, ValueError) as error:
            raise UserError(f"{source}: not a whole .tar or .tar.gz: {storage.cause(error)}") from None


def _decompressed(file: IO[bytes]) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Return the file, decompressed if its content is gzip (browsers decompress files without renaming them)."""
    magic = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    # Not tarfile's own gzip reader, which takes a truncated file for a whole one.
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if magic == _GZIP_MAGIC else contextlib.nullcontext(file)


class _Header(tarfile.TarInfo):
    """A header that detects damage; tarfile itself takes anything but a header for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            raise tarfile.ReadError(f"{error}, before the end mark") from None
        special = not (header.isreg() or header.isdir() or header.issym() or header.islnk() or header.isdev())
        if header.size < 0 or (special and header.size > _MAX_LONG_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


def _limit(source: str, total: int, max_bytes: int) -> None:
    if total > max_bytes:
        raise UserError(f"{source}: unpacks to more than `max_archive_bytes={max_bytes}`")


def _checked_path(source: str, name: str) -> str:
    """Return a member's path without empty and "." steps.

    Raises:
      UserError: it leads out of the archive.
    """
    steps = [step for step in name.split("/") if step not in ("", ".")]
    if name.startswith("/") or ".." in steps:
        raise UserError(f"{source}: the path {name!r} leads out of the archive; nothing is unpacked")
    return "/".join(steps)
