"""What the package knows of GTZAN's clips: artists, titles, known faults, published splits (see data/README.md).

GTZAN's names: what a clip is called, and which files are clips.

Which of GTZAN's clips a split must keep together: those of one artist, and those of one song.

tracks.csv: GTZAN as a list of tracks with their artists, by which the job deals folds that tear no artist.
"""

import csv
import dataclasses
import functools
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from tfrecords.common import files
from tfrecords.common.command_line import UserError

SPLITS = ("gtzan_filtered", "gtzan_stratified")


@dataclasses.dataclass(frozen=True, slots=True)
class Song:
    """What is heard in a clip.

    Attributes:
      clip: its name.
      artists: none where nobody knows them.
      title: empty where nobody knows it.
    """

    clip: str
    artists: tuple[str, ...]
    title: str


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one clip that whoever uses the set meets.

    Attributes:
      clip: its name.
      fault: one word.
      detail: in words.
      source: where this is known from.
    """

    clip: str
    fault: str
    detail: str
    source: str


def data(name: str) -> Traversable:
    """A file or folder of the package's data."""
    return resources.files("beam_preprocess.gtzan") / "data" / name


@functools.cache
def songs() -> dict[str, Song]:
    """Clip -> what is heard in it, all 1,000."""
    return {
        row["clip"]: Song(row["clip"], tuple(filter(None, row["artist"].split("; "))), row["title"])
        for row in _rows("artists.csv")
    }


@functools.cache
def faults() -> dict[str, Fault]:
    """Clip -> its known fault."""
    return {row["clip"]: Fault(**row) for row in _rows("known_faults.csv")}


def split_lists(name: str) -> dict[str, list[str]]:
    """The lists of one of SPLITS: part -> paths such as blues/blues.00000.wav."""
    return {part: data(name).joinpath(f"{part}.txt").read_text("ascii").split() for part in ("train", "valid", "test")}


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(data(name).read_text("utf-8").splitlines()))


GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
CLIPS_PER_GENRE = 100

_PATH = re.compile(rf"(?:.*/)?({'|'.join(GENRES)})/(\1\.000[0-9]{{2}})(\.[A-Za-z0-9]+)", re.DOTALL)


def clip_of(path: str) -> str | None:
    """The clip that a file is, by its path: "genres/blues/blues.00000.au" is "blues.00000"; None for other files."""
    match = _PATH.fullmatch(path)
    return match[2] if match else None


def genre_of(clip: str) -> str:
    """The genre of a clip."""
    return clip.partition(".")[0]


def all_clips() -> list[str]:
    """The names of all 1,000, sorted."""
    return [f"{genre}.{number:05d}" for genre in GENRES for number in range(CLIPS_PER_GENRE)]


@functools.cache
def groups() -> dict[str, str]:
    """Clip -> its group: the artists that are connected by clips of several of them, or by songs that several play.

    A clip of unknown artist, whose song no other clip is known to be of, has no group: it stands for itself.
    """
    root = _connected([*_clips_by_artist(), *same_songs()])
    members: dict[str, set[str]] = defaultdict(set)
    for clip, song in songs().items():
        members[root.get(clip, clip)].update(song.artists)
    # Two groups share no artist, so these names are all different.
    names = {clip: "; ".join(sorted(artists)) for clip, artists in members.items()}
    return {clip: names[root[clip]] for clip in songs() if clip in root and names[root[clip]]}


@functools.cache
def same_songs() -> tuple[tuple[str, ...], ...]:
    """The clips of each song that there are several of, sorted.

    Equal titles are one song when an artist is the same or the genre is. By others, in another genre, they are mostly
    songs of the same name ("Piece by Piece" by Kelly Joe Phelps and by Slayer), and to know one would not help a model
    to name the other's genre.
    """
    by_key: dict[tuple[str, str], list[str]] = defaultdict(list)
    for song in songs().values():
        if title := plain(song.title):
            for key in (genre_of(song.clip), *map(plain, song.artists)):
                by_key[title, key].append(song.clip)
    root = _connected(by_key.values())
    found = defaultdict(list)
    for clip in sorted(root):
        found[root[clip]].append(clip)
    return tuple(sorted(tuple(clips) for clips in found.values() if len(clips) > 1))


def plain(text: str) -> str:
    """A name or title without what people spell differently: case, accents, punctuation, spaces."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    return " ".join(re.findall(r"[a-z0-9]+", re.sub(r"[\u0300-\u036f']", "", letters)))


def _clips_by_artist() -> Iterable[list[str]]:
    clips: dict[str, list[str]] = defaultdict(list)
    for song in songs().values():
        for artist in song.artists:
            clips[plain(artist)].append(song.clip)
    return clips.values()


def _connected(sets: Iterable[list[str] | tuple[str, ...]]) -> dict[str, str]:
    """Each clip of the sets -> the first clip, by name, of all that are connected with it."""
    root: dict[str, str] = {}

    def find(clip: str) -> str:
        while root.setdefault(clip, clip) != clip:
            clip = root[clip]
        return clip

    for clips in sets:
        for clip in clips:
            first, second = sorted((find(clips[0]), find(clip)))
            root[second] = first
    return {clip: find(clip) for clip in list(root)}


FILE_NAME = "tracks.csv"
COLUMNS = ("path", "genre", "artist", "title", "group")


def table(clips: Mapping[str, str]) -> str:
    """The text of tracks.csv, a row for each clip; `group` is what a split keeps together, empty where unknown.

    Args:
      clips: clip -> its path, relative to the table.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip, path in sorted(clips.items()):
        song = songs()[clip]
        writer.writerow((path, genre_of(clip), "; ".join(song.artists), song.title, groups().get(clip, "")))
    return text.getvalue()


def write_table(folder: Path, clips: Mapping[str, str]) -> Path:
    """Writes tracks.csv into a folder, whole or not at all, unless it is there.

    Raises:
      UserError: it cannot be read or written.
    """
    path, text = folder / FILE_NAME, table(clips)
    try:
        done = path.is_file() and path.read_bytes() == text.encode("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not done:
        files.write_text(path, text)
    return path
