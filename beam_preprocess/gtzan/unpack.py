"""Copies GTZAN's clips from an archive or a folder to DIR/<genre>/<genre>.<number>.<extension>, and checks them.

Each clip is written whole or not at all. Its name is decided here, from the genre and number that its path ends in; no
other part of an archive's paths, and nothing in it that is no clip, reaches the disk.
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

_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Clips:
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
        """Why this is not GTZAN, in a few words; known faults of the published copy do not count."""
        return _counted(self.missing, "missing") or self.damage

    @property
    def damage(self) -> str | None:
        """What is wrong with the clips that are there, in a few words."""
        unknown = tuple(clip for clip in self.unreadable if not _is_undecodable(clip))
        return _counted(self.twice, "there twice") or _counted(unknown, "not readable")


def verify(folder: Path) -> Clips:
    """Look for every clip of GTZAN at its place below a folder, and read its header."""
    candidates = {
        clip: [f"{genre_of(clip)}/{clip}{extension}" for extension in sorted(EXTENSIONS)] for clip in all_clips()
    }
    present = {clip: [path for path in paths if (folder / path).is_file()] for clip, paths in candidates.items()}
    files = {clip: paths[0] for clip, paths in present.items() if paths}
    return Clips(
        files=files,
        missing=_missing_clips(files),
        twice=tuple(clip for clip, paths in present.items() if len(paths) > 1),
        unreadable=tuple(clip for clip, path in files.items() if not _has_readable_header(folder / path)),
    )


def describe(clips: Clips) -> Iterator[str]:
    """Yield lines on a whole set: how many clips, of how many artists, and its known faults."""
    songs, known = same_songs(), groups()
    yield (
        f"{len(clips.files)} clips, {len(GENRES)} genres x {CLIPS_PER_GENRE}; artists are known of {len(known)}, "
        f"{len(set(known.values()))} groups that a split has to keep together"
    )
    yield f"{len(songs)} songs are there more than once, in {sum(map(len, songs))} clips"
    for fault in faults().values():
        here = ""
        if fault.clip not in clips.files:
            here = "not in this copy; "
        elif fault.clip in clips.unreadable:
            here = "its header cannot be read; "
        yield f"known fault: {fault.clip}: {here}{fault.detail}"


def unpack_archive(source: Path, output: Path, *, max_bytes: int) -> None:
    """Unpack the clips of a .tar or .tar.gz; clips that are there in the right size are kept.

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
    if wanted := _wanted(source, sizes, output):
        log(f"{source}: unpacking {len(wanted)} of {len(sizes)} clips to {output}")
        members = ((_target(path), member, opened) for path, member, opened in archive.members(str(source), max_bytes))
        _write_all(
            output,
            (
                (target, archive.blocks(str(source), opened, member))
                for target, member, opened in members
                if target in wanted and member.isreg()
            ),
        )


def copy_folder(source: Path, output: Path) -> None:
    """Copy the clips that lie anywhere below a folder; clips that are there in the right size are kept.

    Raises:
      UserError: not all clips lie there, or one twice; or something cannot be read or written.
    """
    paths: dict[str, Path] = {}
    real_output = output.resolve()
    for directory, folders, files in os.walk(source):
        # The output, with what an earlier run copied, may lie below.
        folders[:] = sorted(name for name in folders if Path(directory, name).resolve() != real_output)
        for name in files:
            path = Path(directory, name)
            if not (target := _target(path.as_posix())):
                continue
            if target in paths:
                raise UserError(f"{source}: holds {target} twice: {paths[target]} and {path}; name the folder of one")
            paths[target] = path
    try:
        sizes = {target: path.stat().st_size for target, path in paths.items()}
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from None
    if wanted := _wanted(source, sizes, output):
        log(f"{source}: copying {len(wanted)} of {len(sizes)} clips to {output}")
        _write_all(output, ((target, _read(paths[target])) for target in sorted(wanted)))


def _counted(clips: Sequence[str], what: str) -> str | None:
    return f"{len(clips)} of {len(GENRES) * CLIPS_PER_GENRE} clips are {what}: {first_few(clips)}" if clips else None


def _missing_clips(clips: Collection[str]) -> tuple[str, ...]:
    return tuple(clip for clip in all_clips() if clip not in clips and not _is_undecodable(clip))


def _is_undecodable(clip: str) -> bool:
    fault = faults().get(clip)
    return fault is not None and fault.fault == "undecodable"


def _has_readable_header(path: Path) -> bool:
    try:
        # Opened here: soundfile takes no path that is not UTF-8.
        with open_regular(path) as file, soundfile.SoundFile(file) as sound:
            return sound.frames > 0
    except (OSError, soundfile.SoundFileError):
        return False


def _target(path: str) -> str | None:
    """Return the path below the output where a clip goes; None for a file that is no clip."""
    clip = clip_of(path)
    extension = os.path.splitext(path)[1].lower()  # noqa: PTH122
    return f"{genre_of(clip)}/{clip}{extension}" if clip and extension in EXTENSIONS else None


def _wanted(source: Path, sizes: dict[str, int], output: Path) -> set[str]:
    """Return the clips to write: a clip has its name once it is whole, so one of the right size is there already."""
    if not sizes:
        raise UserError(f"{source}: no clip of GTZAN in it; they are called blues/blues.00000.wav (or .au) and so on")
    if missing := _missing_clips({PurePosixPath(target).stem for target in sizes}):
        raise UserError(f"{source}: not the whole of GTZAN: {len(missing)} clips are not in it ({first_few(missing)})")
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


def _write_all(output: Path, clips: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    """Write (path below the output, blocks) of each clip; then all of their folders are forced to the disk."""
    folders = set()
    for target, blocks in clips:
        _write(output / target, blocks)
        folders.add((output / target).parent)
    for folder in sorted(folders):
        try:
            _sync(folder)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror}") from None


def _write(path: Path, blocks: Iterable[bytes]) -> None:
    """Write a clip: its content is on the disk before it has its name; the name is, once its folder is synced."""
    with atomic_write(path, sync=False) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for block in blocks:
                file.write(block)
        _sync(temporary)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
