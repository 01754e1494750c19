"""What the package knows of GTZAN's clips: artists, titles, known faults, published splits (see data/README.md)."""

import csv
import dataclasses
import functools
from importlib import resources
from importlib.resources.abc import Traversable

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
