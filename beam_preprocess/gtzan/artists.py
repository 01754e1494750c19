"""Which of GTZAN's clips a split must keep together: those of one artist, and those of one song."""

import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from beam_preprocess.gtzan.clips import genre_of
from beam_preprocess.gtzan.facts import songs


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
