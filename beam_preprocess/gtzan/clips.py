"""GTZAN's names: what a clip is called, and which files are clips."""

import re

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
