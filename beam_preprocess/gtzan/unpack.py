"""Brings the clips of an archive or a folder to DIR/<genre>/<genre>.<number>.<extension>, each whole or not at all.

What a clip is called is decided here, from the genre and number that its path ends in; no other part of a path in an
archive, and nothing in it that is no clip, reaches the disk.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from beam_preprocess import archive
from beam_preprocess.audio import EXTENSIONS
from beam_preprocess.gtzan.clips import clip_of, genre_of
from beam_preprocess.gtzan.verify import lacks
from beam_preprocess.messages import say, some
from tfrecords.command_line import UserError
from tfrecords.files import open_regular, whole_file

_BLOCK_BYTES = 1 << 20


def unpack_archive(source: Path, output: Path, *, max_bytes: int) -> None:
    """Unpacks the clips of a .tar or .tar.gz; those that are there in the right size already are kept.

    The archive is read to its end once before anything is written.

    Raises:
      UserError: it is damaged, unpacks to more than max_bytes, holds a path that leads out of it, a link, a device or
        a clip twice, or not all clips; or the output cannot be written.
    """
    say(f"{source}: listing the archive")
    sizes: dict[str, int] = {}
    special = []
    for path, member, _ in archive.members(str(source), max_bytes):
        if not (member.isreg() or member.isdir()):
            special.append(path)
        elif member.isreg() and (target := _target(path)):
            if target in sizes:
                raise UserError(f"{source}: holds {target} twice; nothing is unpacked")
            sizes[target] = member.size
    if special:
        raise UserError(f"{source}: holds links or devices ({some(special)}); nothing is unpacked")
    missing = _missing(source, sizes, output)
    if not missing:
        return
    say(f"{source}: unpacking {len(missing)} of {len(sizes)} clips to {output}")
    for path, member, opened in archive.members(str(source), max_bytes):
        target = _target(path)
        if target in missing and member.isreg():
            _write(output / target, archive.blocks(str(source), opened, member))


def copy_folder(source: Path, output: Path) -> None:
    """Copies the clips that lie anywhere below a folder; those that are there in the right size already are kept.

    Raises:
      UserError: not all clips lie there, or one twice; something cannot be read or written.
    """
    found: dict[str, Path] = {}
    real_output = output.resolve()
    for directory, folders, files in os.walk(source):
        # What an earlier run copied may lie below.
        folders[:] = sorted(name for name in folders if Path(directory, name).resolve() != real_output)
        for name in files:
            path = Path(directory, name)
            if not (target := _target(path.as_posix())):
                continue
            if target in found:
                raise UserError(f"{source}: holds {target} twice: {found[target]} and {path}; name the folder of one")
            found[target] = path
    try:
        sizes = {target: path.stat().st_size for target, path in found.items()}
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from None
    missing = _missing(source, sizes, output)
    if not missing:
        return
    say(f"{source}: copying {len(missing)} of {len(sizes)} clips to {output}")
    for target in sorted(missing):
        _write(output / target, _read(found[target]))


def _target(path: str) -> str | None:
    """Where below the output a clip goes; None for a file that is no clip."""
    clip = clip_of(path)
    extension = os.path.splitext(path)[1].lower()  # noqa: PTH122
    return f"{genre_of(clip)}/{clip}{extension}" if clip and extension in EXTENSIONS else None


def _missing(source: Path, sizes: dict[str, int], output: Path) -> set[str]:
    """Those that are not there yet; a clip has its name once it is whole, so its size says whether it is this one."""
    if not sizes:
        raise UserError(f"{source}: no clip of GTZAN in it; they are called blues/blues.00000.wav (or .au) and so on")
    if lacking := lacks({PurePosixPath(target).stem for target in sizes}):
        raise UserError(f"{source}: not the whole of GTZAN: {len(lacking)} clips are not in it ({some(lacking)})")
    return {target for target, size in sizes.items() if _size(output / target) != size}


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _read(path: Path) -> Iterator[bytes]:
    try:
        with open_regular(path) as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _write(path: Path, blocks: Iterable[bytes]) -> None:
    with whole_file(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for block in blocks:
                file.write(block)
