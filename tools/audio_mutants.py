"""A folder of damaged audio files among good ones, the same for the same seed."""

import functools
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from beam_preprocess import synthesize
from tools import encode
from tools.audio_mutations import Whole, mutate
from tools.audio_units import units
from tools.encode import Kind
from tools.ogg_pages import with_checksums

GOOD = "(good)"
# Just past the shortest clip that the job takes, so that what cuts a file in half makes it too short.
_SECONDS = 3.0
# A file whose name says another format: what counts is what it holds.
_WRONG_EXTENSION_SHARE = 0.05


class Seed(NamedTuple):
    """What is damaged: a kind of file with so many channels at a rate (Hz), and the family of its header."""

    kind: Kind
    family: str
    channels: int
    rate: int


SEEDS: dict[str, Seed] = {
    "wav": Seed(encode.WAV, "wav", 1, 22050),
    "wav, stereo": Seed(encode.WAV, "wav", 2, 44100),
    "wav, floats": Seed(encode.WAV_FLOAT, "wav", 1, 22050),
    "au": Seed(encode.AU, "au", 1, 22050),
    "au, floats": Seed(encode.AU_FLOAT, "au", 1, 22050),
    "aiff": Seed(encode.AIFF, "aiff", 1, 22050),
    "flac": Seed(encode.FLAC, "flac", 1, 22050),
    "ogg vorbis": Seed(encode.VORBIS, "ogg", 1, 22050),
    "ogg vorbis, stereo": Seed(encode.VORBIS, "ogg", 2, 44100),
    "ogg opus": Seed(encode.OPUS, "ogg", 2, 48000),
    "ogg flac": Seed(encode.OGG_FLAC, "ogg", 1, 22050),
    "mp3": Seed(encode.MP3, "mp3", 1, 22050),
    "mp3, tags": Seed(encode.MP3_TAGGED, "mp3", 2, 44100),
    "mp3, no length": Seed(encode.MP3_WITHOUT_LENGTH, "mp3", 2, 44100),
    "m4a": Seed(encode.M4A, "mp4", 2, 44100),
    "m4a, index first": Seed(encode.M4A_INDEX_FIRST, "mp4", 1, 22050),
    "m4a, fragments": Seed(encode.M4A_FRAGMENTS, "mp4", 2, 44100),
    "m4a alac": Seed(encode.M4A_ALAC, "mp4", 1, 22050),
    "aac": Seed(encode.AAC, "aac", 2, 44100),
    "webm": Seed(encode.WEBM, "matroska", 2, 48000),
    "mka": Seed(encode.MATROSKA, "matroska", 2, 44100),
    "wma": Seed(encode.WMA, "asf", 2, 44100),
}


class Mutant(NamedTuple):
    """What was made of a file: its format, a key of SEEDS, and the mutation, or GOOD."""

    format: str
    mutation: str


def make_files(folder: Path, *, mutants: int, good: int, seed: int) -> dict[str, Mutant]:
    """Writes the files, in a folder that holds nothing else, and returns name -> what was made of it.

    Args:
      folder: emptied first.
      mutants: damaged files.
      good: files as they should be, of all formats.
      seed: decides all.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = random.Random(seed)  # noqa: S311 - damage, not secrets
    wholes = [whole(name) for name in SEEDS]
    made = {}
    for index in range(mutants + good):
        chosen = rng.choice(wholes)
        mutation, data, extension = GOOD, chosen.data, chosen.extension
        if index >= good:
            mutation, data = mutate(chosen, wholes, rng)
            if rng.random() < _WRONG_EXTENSION_SHARE:
                extension = rng.choice(wholes).extension
        name = f"{index:05d}.{extension}"
        (folder / name).write_bytes(data)
        made[name] = Mutant(chosen.name, f"{chosen.family} {mutation}" if mutation.startswith("lie") else mutation)
    return made


@functools.cache
def whole(name: str) -> Whole:
    """The file that is damaged: a synthetic track, played at the rate, in a format of SEEDS."""
    kind, family, channels, rate = SEEDS[name]
    track = synthesize.synthesize_track("rock", seed=0, seconds=_SECONDS * rate / 22050, index=0)
    samples = np.repeat(track[:, np.newaxis], channels, axis=1)
    data = _without_accidents(encode.encode(samples, rate, kind), family)
    return Whole(name, kind.extension, family, data, tuple(units(data, family)))


def _without_accidents(data: bytes, family: str) -> bytes:
    """The same file without what differs from one writing to the next: a stream's number, a time of day."""
    if family == "ogg":
        return with_checksums(data, serial=0)
    peaks = data.find(b"PEAK")
    return data if peaks < 0 else data[: peaks + 12] + bytes(4) + data[peaks + 16 :]
