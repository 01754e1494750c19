"""The audio that benchmarks read: synthesised 16-bit WAV clips, made once and kept."""

import os
from pathlib import Path

import soundfile

from beam_preprocess import synthesize


def make_clips(work_dir: Path, *, clips: int, seconds: float) -> Path:
    """A folder of clips, a folder a genre, all in the cache of files, so that no round pays for the disk.

    Args:
      work_dir: where it is kept.
      clips: how many, rounded down to a multiple of ten genres.
      seconds: length of each.
    """
    folder = work_dir / f"clips_{clips}_{seconds:g}s"
    synthesize.synthesize_dataset(folder, tracks_per_genre=clips // len(synthesize.GENRES), seconds=seconds)
    for path in folder.rglob("*.wav"):
        path.read_bytes()
    return folder


def link_clips(source: Path, target: Path, *, times: int, per_genre: int | None = None) -> Path:
    """A folder in which each clip of another (the first few per genre) is linked under so many names.

    Hard links need no disk, and to a job they are files like any other: it opens, reads and decodes each by itself.
    """
    for genre in synthesize.GENRES:
        (target / genre).mkdir(parents=True, exist_ok=True)
        for path in sorted((source / genre).glob("*.wav"))[:per_genre]:
            for copy in range(times):
                link = target / genre / f"{path.stem}.copy{copy}.wav"
                if not link.exists():
                    os.link(path, link)
    return target


def tile(source: Path, target: Path, *, hours: float) -> Path:
    """One long 16-bit WAV: a clip again and again."""
    samples, rate = soundfile.read(source, dtype="int16")
    repeats = round(hours * 3600 * rate / len(samples))
    if not target.exists() or soundfile.info(target).frames != repeats * len(samples):
        target.parent.mkdir(parents=True, exist_ok=True)
        with soundfile.SoundFile(target, "w", rate, 1, "PCM_16") as file:
            for _ in range(repeats):
                file.write(samples)
    return target
