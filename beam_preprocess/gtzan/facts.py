"""What is known of GTZAN's clips: artists, titles, faults, published splits (see data/README.md); and tracks.csv.

A clip is named by its genre and number, such as "blues.00000".
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

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
CLIPS_PER_GENRE = 100
# The published splits that come with the package.
SPLITS = ("gtzan_filtered", "gtzan_stratified")
TABLE = "tracks.csv"
COLUMNS = ("path", "genre", "artist", "title", "group")
_PATH = re.compile(rf"(?:.*/)?({'|'.join(GENRES)})/(\1\.000[0-9]{{2}})(\.[A-Za-z0-9]+)", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Song:
    """The music of a clip.

    Attributes:
      clip: its name.
      artists: empty where they are unknown.
      title: empty where it is unknown.
    """

    clip: str
    artists: tuple[str, ...]
    title: str


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """A known fault of one clip.

    Attributes:
      clip: its name.
      fault: one word.
      detail: a sentence.
      source: where it was published.
    """

    clip: str
    fault: str
    detail: str
    source: str


def clip_of(path: str) -> str | None:
    """Return the clip that a file is, by its path; None for other files.

    Example:
      >>> clip_of("genres/blues/blues.00000.au")
      'blues.00000'
    """
    match = _PATH.fullmatch(path)
    return match[2] if match else None


def genre_of(clip: str) -> str:
    """Return the genre of a clip."""
    return clip.partition(".")[0]


def all_clips() -> list[str]:
    """Return the names of all 1,000 clips, sorted."""
    return [f"{genre}.{number:05d}" for genre in GENRES for number in range(CLIPS_PER_GENRE)]


def data(name: str) -> Traversable:
    """Return a file or folder of the package's data."""
    return resources.files("beam_preprocess.gtzan") / "data" / name


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(data(name).read_text("utf-8").splitlines()))


@functools.cache
def songs() -> dict[str, Song]:
    """Return clip -> its music, of all 1,000."""
    return {
        row["clip"]: Song(row["clip"], tuple(filter(None, row["artist"].split("; "))), row["title"])
        for row in _rows("artists.csv")
    }


@functools.cache
def faults() -> dict[str, Fault]:
    """Return clip -> its known fault."""
    return {row["clip"]: Fault(**row) for row in _rows("known_faults.csv")}


def split_lists(name: str) -> dict[str, list[str]]:
    """Return the lists of one of SPLITS: part -> paths such as blues/blues.00000.wav."""
    return {part: data(name).joinpath(f"{part}.txt").read_text("ascii").split() for part in ("train", "valid", "test")}


@functools.cache
def groups() -> dict[str, str]:
    """Return clip -> its group, named by its artists: what a split must keep together.

    Artists are one group if a clip is by several of them, or if they play the same song. A clip of unknown artist,
    whose song no other clip is known to be of, has no group.
    """
    root = _connect([*_clips_by_artist(), *same_songs()])
    artists: dict[str, set[str]] = defaultdict(set)
    for clip, song in songs().items():
        artists[root.get(clip, clip)].update(song.artists)
    # No two groups share an artist, so all names differ.
    names = {clip: "; ".join(sorted(members)) for clip, members in artists.items()}
    return {clip: names[root[clip]] for clip in songs() if clip in root and names[root[clip]]}


@functools.cache
def same_songs() -> tuple[tuple[str, ...], ...]:
    """Return the clips of each song that several clips are of, sorted.

    Equal titles are one song when an artist is the same or the genre is. By others, in another genre, they are mostly
    songs of the same name ("Piece by Piece" by Kelly Joe Phelps and by Slayer), and to know one would not help a model
    to name the other's genre.
    """
    by_key: dict[tuple[str, str], list[str]] = defaultdict(list)
    for song in songs().values():
        if title := plain(song.title):
            for key in (genre_of(song.clip), *map(plain, song.artists)):
                by_key[title, key].append(song.clip)
    root = _connect(by_key.values())
    clips_of = defaultdict(list)
    for clip in sorted(root):
        clips_of[root[clip]].append(clip)
    return tuple(sorted(tuple(clips) for clips in clips_of.values() if len(clips) > 1))


def plain(text: str) -> str:
    """Return a name or title without what is spelt differently: case, accents, punctuation, spaces.

    Example:
      >>> plain("Jumpin', Jumpin'")
      'jumpin jumpin'
    """
    letters = unicodedata.normalize("NFKD", text).casefold()
    return " ".join(re.findall(r"[a-z0-9]+", re.sub(r"[\u0300-\u036f']", "", letters)))


def _clips_by_artist() -> Iterable[list[str]]:
    clips: dict[str, list[str]] = defaultdict(list)
    for song in songs().values():
        for artist in song.artists:
            clips[plain(artist)].append(song.clip)
    return clips.values()


def _connect(sets: Iterable[list[str] | tuple[str, ...]]) -> dict[str, str]:
    """Return each clip of the sets -> the first clip, by name, of all that sets connect it with."""
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


def table(clips: Mapping[str, str]) -> str:
    """Return the text of tracks.csv, a row for each clip; its column `group` is empty where the artist is unknown.

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
    """Write tracks.csv into a folder, whole or not at all, unless it is there with this content.

    Raises:
      UserError: it cannot be read or written.
    """
    path, text = folder / TABLE, table(clips)
    try:
        current = path.is_file() and path.read_bytes() == text.encode("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not current:
        files.write_text(path, text)
    return path
