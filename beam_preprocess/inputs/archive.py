"""A labelled set in an archive (.tar, .tar.gz): listed from its headers, then unpacked where every worker can read it.

An archive can only be read from front to back, so one that is to be used is read twice. Nothing of a member but its
number and its extension becomes part of a file's name on disk: no path in an archive can point out of the directory,
be too long for it, or meet another one that differs in upper and lower case only.
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

from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.audio.formats import HEAD_BYTES, Selection
from beam_preprocess.config import ARCHIVES, JobConfig, archive_stem
from beam_preprocess.inputs.tracks import Track, absolute, log_selection, track_in_folder
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log
from tfrecords.manifest import PARTIAL_DIR

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 1 << 20
# Long names and the like stand in headers of their own, which tarfile reads into memory whole.
_MAX_LONG_HEADER_BYTES = 1 << 20


def is_archive(source: str) -> bool:
    """Whether an input is an archive, by its name; a folder may be named like one."""
    return source.lower().endswith(ARCHIVES) and not os.path.isdir(source)  # noqa: PTH112


def list_archive(config: JobConfig) -> list[Track]:
    """All tracks of an archive, sorted by track_id; their uris are those that `unpack` writes.

    A track_id is the path in the archive, below the one folder that all audio lies in, if there is one.

    Raises:
      UserError: no such archive, a damaged one, one that unpacks to too much, a path that leads out of it, no audio.
    """
    source = config.source
    log(f"{source}: listing the archive")
    folder = _folder(source, config.output)
    found: dict[str, tuple[str, int]] = {}
    selection = Selection()
    left_out = 0
    for number, (path, member, archive) in enumerate(members(source, config.max_archive_bytes)):
        if member.isreg() and selection.takes(path, functools.partial(_head, source, archive, member)):
            # The later of two members with one path wins, as when they are unpacked by hand.
            found[path] = (_uri(folder, number, path), member.size)
        left_out += not (member.isreg() or member.isdir())
    if left_out:
        log(f"{source}: {left_out} links or devices are left out")
    # A file with no folder around it is labelled as if the archive had been unpacked into a folder of its own name.
    root = stem = archive_stem(source)
    tops = {path.partition("/")[0] for path in found}
    if len(tops) == 1 and all("/" in path for path in found):
        root = f"{stem}/{tops.pop()}"
    tracks = []
    for path, (uri, size) in found.items():
        track = track_in_folder(f"{stem}/{path}", size, root=root, label_folder=config.label_folder)
        tracks.append(dataclasses.replace(track, uri=uri, origin=f"{absolute(source)}/{path}"))
    log_selection(source, selection, tracks, "no audio file in this archive")
    return sorted(tracks, key=lambda track: track.track_id)


def _head(source: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The first bytes of a member, in which what its name does not tell may be seen."""
    with _reading(source):
        data = archive.extractfile(member)
        return data.read(HEAD_BYTES) if data else b""


def unpack(config: JobConfig, tracks: Sequence[Track]) -> None:
    """Writes the tracks of `list_archive` to their uris; those that are there already are kept.

    Raises:
      UserError: the archive has changed or cannot be read, or the output cannot be written.
    """
    with storage.reporting(f"--output={config.output} cannot be used"):
        folder = FileSystems.split(tracks[0].uri)[0]
        storage.make_directories(folder)
        # A file has its name once it is whole; so the list of names and sizes says what is left to do.
        there = {FileSystems.join(folder, name): size for name, size in storage.list_files(folder).items()}
    missing = {track.uri: track.size for track in tracks if there.get(track.uri) != track.size}
    if not missing:
        return
    log(f"{config.source}: unpacking {len(missing)} of {len(tracks)} files")
    for number, (path, member, archive) in enumerate(members(config.source, config.max_archive_bytes)):
        uri = _uri(folder, number, path)
        if uri in missing and missing[uri] == member.size and member.isreg():
            _write(config, uri, blocks(config.source, archive, member))
            del missing[uri]
    if missing:
        raise UserError(f"{config.source}: has changed while it was read; run the command again")


def _write(config: JobConfig, uri: str, blocks: Iterator[bytes]) -> None:
    with storage.reporting(f"--output={config.output} cannot be used"):
        output = absolute(config.output)
        name = f"{PARTIAL_DIR}/{uri[len(storage.partial_dir(output)) + 1 :]}"
        with storage.replacing(output, name) as file:
            for block in blocks:
                file.write(block)


def _folder(source: str, output: str) -> str:
    """Where an archive is unpacked to: another place for another archive, and for another version of it."""
    with storage.reporting(f"{source}: cannot be read"):
        uri = absolute(source)
        metadata = storage.filesystem_of(uri).metadata(uri)
    identity = f"{uri}:{metadata.size_in_bytes}:{metadata.last_updated_in_seconds}"
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    with storage.reporting(f"--output={output} cannot be used"):
        # Workers may run in another directory than the launcher.
        return FileSystems.join(storage.partial_dir(absolute(output)), "unpacked", digest)


def _uri(folder: str, number: int, path: str) -> str:
    return FileSystems.join(folder, f"{number:06d}{PurePosixPath(path).suffix.lower()}")


def members(source: str, max_bytes: int) -> Generator[tuple[str, tarfile.TarInfo, tarfile.TarFile], None, None]:
    """All members from front to back: path, header, and the archive for as long as it stands at their data.

    Raises:
      UserError: it cannot be read, is damaged, unpacks to more than max_bytes, or holds a path that leads out of it.
    """
    with _reading(source), storage.open_file(source) as file, _decompressed(file) as stream:
        total = 0
        with tarfile.open(
            fileobj=stream, mode="r|", bufsize=_BLOCK_BYTES, tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            while (member := archive.next()) is not None:
                # tarfile keeps every header that it has seen.
                archive.members.clear()  # type: ignore[attr-defined]
                total += tarfile.BLOCKSIZE + member.size
                _limit(source, total, max_bytes)
                yield _checked_path(source, member.name), member, archive
        # What follows the end mark is padding; gzip's checksum comes after it.
        while block := stream.read(_BLOCK_BYTES):
            total += len(block)
            _limit(source, total, max_bytes)


def blocks(source: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    """The data of a member that `members` has just given.

    Raises:
      UserError: the archive cannot be read.
    """
    with _reading(source):
        data = archive.extractfile(member)
        while data and (block := data.read(_BLOCK_BYTES)):
            yield block


@contextlib.contextmanager
def _reading(source: str) -> Iterator[None]:
    """Raises UserError for an archive that cannot be read."""
    with storage.reporting(f"{source}: cannot be read"):
        try:
            yield
        except UserError:
            raise
        # RecursionError: tarfile follows a chain of headers by calling itself. ValueError: of numbers in headers.
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RecursionError, ValueError) as error:
            raise UserError(f"{source}: not a whole .tar or .tar.gz: {storage.cause(error)}") from None


def _decompressed(file: IO[bytes]) -> contextlib.AbstractContextManager[IO[bytes]]:
    """The file, through gzip if its content says so; browsers decompress without changing the name."""
    magic = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    # tarfile has a gzip reader of its own, but that one takes a file that was cut off for a whole one.
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if magic == _GZIP_MAGIC else contextlib.nullcontext(file)


class _Header(tarfile.TarInfo):
    """A header that tells of damage: for tarfile anything but a header is the archive's end, except at the start."""

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
        raise UserError(f"{source}: unpacks to more than --max_archive_bytes={max_bytes}")


def _checked_path(source: str, name: str) -> str:
    """A member's path without empty and "." steps.

    Raises:
      UserError: it leads out of the archive.
    """
    steps = [step for step in name.split("/") if step not in ("", ".")]
    if name.startswith("/") or ".." in steps:
        raise UserError(f"{source}: the path {name!r} leads out of the archive; nothing is unpacked")
    return "/".join(steps)
