"""Looks whether a folder holds GTZAN: 10 x 100 clips, each with a header that can be read.

Brings the clips of an archive or a folder to DIR/<genre>/<genre>.<number>.<extension>, each whole or not at all.

What a clip is called is decided here, from the genre and number that its path ends in; no other part of a path in an
archive, and nothing in it that is no clip, reaches the disk.
"""

import dataclasses
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import soundfile

from beam_preprocess.audio import EXTENSIONS
from beam_preprocess.gtzan.facts import (
    CLIPS_PER_GENRE,
    GENRES,
    all_clips,
    clip_of,
    faults,
    genre_of,
    groups,
    same_songs,
)
from beam_preprocess.inputs import archive
from tfrecords.common.command_line import UserError
from tfrecords.common.files import atomic_write, open_regular
from tfrecords.common.terminal import first_few, log


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a folder holds of GTZAN.

    Attributes:
      files: clip -> its path below the folder; of a clip in several formats, the first by name.
      missing: clips that are not there, but for one that some copies leave out because it cannot be decoded.
      twice: clips that are there in several formats.
      unreadable: clips with a header that cannot be read.
    """

    files: dict[str, str]
    missing: tuple[str, ...]
    twice: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def problem(self) -> str | None:
        """What keeps this from being GTZAN, in a few words; a fault that a published copy is known to have does not."""
        return _counted(self.missing, "missing") or self.damage

    @property
    def damage(self) -> str | None:
        """What is there and should not be as it is, in a few words."""
        unknown = tuple(clip for clip in self.unreadable if not _may_fail(clip))
        return _counted(self.twice, "there twice") or _counted(unknown, "not readable")


def lacks(clips: Collection[str]) -> tuple[str, ...]:
    """The clips that are needed beside these for the whole set."""
    return tuple(clip for clip in all_clips() if clip not in clips and not _may_fail(clip))


def verify(folder: Path) -> Findings:
    """Looks for every clip at its place below a folder."""
    candidates = {
        clip: [f"{genre_of(clip)}/{clip}{extension}" for extension in sorted(EXTENSIONS)] for clip in all_clips()
    }
    there = {clip: [path for path in paths if (folder / path).is_file()] for clip, paths in candidates.items()}
    files = {clip: paths[0] for clip, paths in there.items() if paths}
    return Findings(
        files=files,
        missing=lacks(files),
        twice=tuple(clip for clip, paths in there.items() if len(paths) > 1),
        unreadable=tuple(clip for clip, path in files.items() if not _readable(folder / path)),
    )


def describe(found: Findings) -> Iterator[str]:
    """Lines that tell of a whole set: how many clips, of how many artists, and its known faults."""
    songs = same_songs()
    known = groups()
    yield (
        f"{len(found.files)} clips, {len(GENRES)} genres x {CLIPS_PER_GENRE}; artists are known of {len(known)}, "
        f"{len(set(known.values()))} groups that a split has to keep together"
    )
    yield f"{len(songs)} songs are there more than once, in {sum(map(len, songs))} clips"
    for fault in faults().values():
        here = ""
        if fault.clip not in found.files:
            here = "not in this copy; "
        elif fault.clip in found.unreadable:
            here = "its header cannot be read; "
        yield f"known fault: {fault.clip}: {here}{fault.detail}"


def _counted(clips: Sequence[str], what: str) -> str | None:
    return f"{len(clips)} of {len(GENRES) * CLIPS_PER_GENRE} clips are {what}: {first_few(clips)}" if clips else None


def _may_fail(clip: str) -> bool:
    fault = faults().get(clip)
    return fault is not None and fault.fault == "undecodable"


def _readable(path: Path) -> bool:
    try:
        # Opened here: soundfile takes no path that is not UTF-8.
        with open_regular(path) as file, soundfile.SoundFile(file) as sound:
            return sound.frames > 0
    except (OSError, soundfile.SoundFileError):
        return False


_BLOCK_BYTES = 1 << 20


def unpack_archive(source: Path, output: Path, *, max_bytes: int) -> None:
    """Unpacks the clips of a .tar or .tar.gz; those that are there in the right size already are kept.

    The archive is read to its end once before anything is written.

    Raises:
      UserError: it is damaged, unpacks to more than max_bytes, holds a path that leads out of it, a link, a device or
        a clip twice, or not all clips; or the output cannot be written.
    """
    log(f"{source}: listing the archive")
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
        raise UserError(f"{source}: holds links or devices ({first_few(special)}); nothing is unpacked")
    missing = _missing(source, sizes, output)
    if not missing:
        return
    log(f"{source}: unpacking {len(missing)} of {len(sizes)} clips to {output}")
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
    log(f"{source}: copying {len(missing)} of {len(sizes)} clips to {output}")
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
        raise UserError(f"{source}: not the whole of GTZAN: {len(lacking)} clips are not in it ({first_few(lacking)})")
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
    with atomic_write(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for block in blocks:
                file.write(block)
