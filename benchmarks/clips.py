"""The audio that benchmarks read: synthesised clips, 16-bit WAV or MP3, made once and kept."""

import os
from pathlib import Path

import numpy as np
import soundfile
import soxr

from beam_preprocess import synthesize

MP3_RATE_HZ, MP3_KBITS = 44_100, 128
# libsndfile counts from 0 for an MP3's highest constant bit rate to 1 for its lowest.
_HIGHEST_KBITS, _LOWEST_KBITS = 320, 32
_MP3_COMPRESSION = (_HIGHEST_KBITS - MP3_KBITS) / (_HIGHEST_KBITS - _LOWEST_KBITS)
# The second channel is softer.
_CHANNELS = np.array([1.0, 0.6], np.float32)


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


def make_mp3_clips(work_dir: Path, *, clips: int, seconds: float) -> Path:
    """The same clips as people have music: MP3 at 44.1 kHz, stereo, 128 kbit/s, with its length in an Info tag.

    Args and the folder are those of `make_clips`.
    """
    source = make_clips(work_dir, clips=clips, seconds=seconds)
    folder = work_dir / f"mp3_{clips}_{seconds:g}s"
    for path in sorted(source.glob("*/*.wav")):
        target = folder / path.parent.name / f"{path.stem}.mp3"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_mp3(path, target)
        target.read_bytes()
    return folder


def _write_mp3(source: Path, target: Path) -> None:
    samples, rate = soundfile.read(source, dtype="float32")
    stereo = soxr.resample(samples, rate, MP3_RATE_HZ)[:, np.newaxis] * _CHANNELS
    unfinished = target.with_suffix(".part")
    how = {"bitrate_mode": "CONSTANT", "compression_level": _MP3_COMPRESSION}
    soundfile.write(unfinished, stereo, MP3_RATE_HZ, "MPEG_LAYER_III", format="MP3", **how)
    unfinished.replace(target)


def link_clips(source: Path, target: Path, *, times: int, per_genre: int | None = None) -> Path:
    """A folder in which each clip of another (the first few per genre) is linked under so many names.

    Hard links need no disk, and to a job they are files like any other: it opens, reads and decodes each by itself.
    """
    for genre in synthesize.GENRES:
        (target / genre).mkdir(parents=True, exist_ok=True)
        for path in sorted((source / genre).iterdir())[:per_genre]:
            for copy in range(times):
                link = target / genre / f"{path.stem}.copy{copy}{path.suffix}"
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
