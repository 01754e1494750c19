"""A folder of damaged audio files among good ones, the same for the same seed."""

import io
import random
import shutil
from pathlib import Path

import numpy as np
import soundfile

from beam_preprocess import synthesize
from tools.audio_mutations import mutate
from tools.ogg_pages import with_checksums

GOOD = "(good)"
# Just past the shortest clip that the job takes, so that what cuts a file in half makes it too short.
_SECONDS = 3.0
# (container, subtype, channels, rate) of the files that are damaged.
_SEEDS: tuple[tuple[str, str, int, int], ...] = (
    ("wav", "PCM_16", 1, 22050),
    ("wav", "PCM_16", 2, 44100),
    ("wav", "FLOAT", 1, 22050),
    ("au", "PCM_16", 1, 22050),
    ("au", "FLOAT", 1, 22050),
    ("aiff", "PCM_16", 1, 22050),
    ("flac", "PCM_16", 1, 22050),
    ("ogg", "VORBIS", 1, 22050),
    ("mp3", "MPEG_LAYER_III", 1, 22050),
)
# A file whose name says another format: what counts is what it holds.
_WRONG_EXTENSION_SHARE = 0.05


def make_files(folder: Path, *, mutants: int, good: int, seed: int) -> dict[str, str]:
    """Writes the files, in a folder that holds nothing else, and returns name -> mutation, or GOOD.

    Args:
      folder: emptied first.
      mutants: damaged files.
      good: files as they should be, of all formats.
      seed: decides all.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = random.Random(seed)  # noqa: S311 - damage, not secrets
    whole = [(form[0], _encoded(*form)) for form in _SEEDS]
    made = {}
    for index in range(mutants + good):
        container, data = rng.choice(whole)
        mutation = GOOD
        extension = container
        if index >= good:
            mutation, data = mutate(data, container, rng)
            if rng.random() < _WRONG_EXTENSION_SHARE:
                extension = rng.choice(whole)[0]
        name = f"{index:05d}.{extension}"
        (folder / name).write_bytes(data)
        made[name] = f"{container} {mutation}" if mutation.startswith("lie") else mutation
    return made


def _encoded(container: str, subtype: str, channels: int, rate: int) -> bytes:
    """A whole file: a synthetic track, played at the rate."""
    track = synthesize.synthesize_track("rock", seed=0, seconds=_SECONDS * rate / 22050, index=0)
    file = io.BytesIO()
    samples = np.repeat(track[:, np.newaxis], channels, axis=1)
    soundfile.write(file, samples, rate, format=container.upper(), subtype=subtype)
    return _without_accidents(file.getvalue(), container)


def _without_accidents(data: bytes, container: str) -> bytes:
    """The same file without what differs from one writing to the next: a stream's number, a time of day."""
    if container == "ogg":
        return with_checksums(data, serial=0)
    peaks = data.find(b"PEAK")
    return data if peaks < 0 else data[: peaks + 12] + bytes(4) + data[peaks + 16 :]
