"""Looks whether a folder holds GTZAN: 10 x 100 clips, each with a header that can be read."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import soundfile

from beam_preprocess.audio import EXTENSIONS
from beam_preprocess.gtzan.artists import groups, same_songs
from beam_preprocess.gtzan.clips import CLIPS_PER_GENRE, GENRES, all_clips, genre_of
from beam_preprocess.gtzan.facts import faults
from beam_preprocess.messages import some
from tfrecords.files import open_regular


@dataclasses.dataclass(frozen=True)
class Found:
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


def verify(folder: Path) -> Found:
    """Looks for every clip at its place below a folder."""
    candidates = {
        clip: [f"{genre_of(clip)}/{clip}{extension}" for extension in sorted(EXTENSIONS)] for clip in all_clips()
    }
    there = {clip: [path for path in paths if (folder / path).is_file()] for clip, paths in candidates.items()}
    files = {clip: paths[0] for clip, paths in there.items() if paths}
    return Found(
        files=files,
        missing=lacks(files),
        twice=tuple(clip for clip, paths in there.items() if len(paths) > 1),
        unreadable=tuple(clip for clip, path in files.items() if not _readable(folder / path)),
    )


def described(found: Found) -> Iterator[str]:
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
    return f"{len(clips)} of {len(GENRES) * CLIPS_PER_GENRE} clips are {what}: {some(clips)}" if clips else None


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
