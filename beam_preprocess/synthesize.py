"""Makes a small set of synthetic music for trying things out: ten genres, one folder each.

    python -m beam_preprocess.synthesize --output=DIR [--tracks_per_genre=20] [--seconds=12] [--seed=0]

Writes DIR/blues/quiet-harbour.wav and so on: 22050 Hz, mono, 16 bits. The same flags give the same audio. Existing
tracks of the same seed and length are kept, those of another are replaced; a genre's folder with other .wav files is
refused.
"""

import contextlib
import io
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from absl import flags
from numpy.typing import NDArray
from tqdm import tqdm

from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError

SAMPLE_RATE_HZ = 22050
MIN_SECONDS, MAX_SECONDS = 3, 300
# Times of the samples of the longest tone.
_TIME_S = np.arange(1.2 * SAMPLE_RATE_HZ, dtype=np.float32) / np.float32(SAMPLE_RATE_HZ)
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
# A track's name has one word of each list. With a number, it would look like a clip of GTZAN or a piece of a recording.
_FIRST = """amber bitter bright broken calm cold crimson distant early empty fading first gentle golden hidden hollow
idle last little lonely lost narrow open pale quiet restless silent silver slow tall velvet wild"""
_SECOND = """anchor autumn avenue bridge canyon castle cedar cloud corner desert engine evening ferry garden harbour
horizon island kitchen lantern letter meadow mirror morning orchard river shadow signal station summer valley window
winter"""
MAX_TRACKS_PER_GENRE = 32 * 32

Samples = NDArray[np.float32]
_Range = tuple[float, float]


class Genre(NamedTuple):
    """The style of a genre; each track draws its values uniformly from each (low, high).

    A bar has four beats, and every second step is late by up to `swing` of a step. `register` is the MIDI pitch of the
    lowest key; partial k of a tone has amplitude k ** -rolloff; `drive` is the gain before distortion, near 0 is clean.
    Levels are relative to the chords. `bars` is one bar each of kick, snare, hi-hat, bass, chords and lead, with one
    character a step: "9" always sounds, "1" to "8" with that many ninths of probability, "." never.
    """

    bpm: _Range
    swing: float
    register: int
    rolloff: _Range
    decay_s: _Range
    drive: _Range
    bass_db: _Range
    lead_db: _Range
    drums_db: _Range
    bars: str


# fmt: off
GENRES: Mapping[str, Genre] = {
    "blues": Genre((62, 120), 0.1, 45, (0.9, 1.6), (0.25, 0.7), (0.3, 1.5), (-4, 2), (0, 6), (-10, -3),
        "8..1..7..1.2 ...8.....8.. 8.68.68.68.6 9.28.39.28.3 7.24.45.24.4 312424423313"),
    "classical": Genre((60, 150), 0.05, 50, (1.1, 2.2), (0.4, 1.5), (0.02, 0.3), (-8, 0), (-2, 6), (-22, -12),
        "1........... ............ ............ 8...2...3... 8.3.6.3.6.3. 7.2.5.315.31"),
    "country": Genre((84, 136), 0.25, 52, (0.5, 1.0), (0.12, 0.4), (0.02, 0.5), (-4, 2), (-3, 4), (-12, -4),
        "9.......8.1..... ....8..1....8.2. 6.3.7.3.6.3.7.3. 9...1...9...2... 3.4.8.5.3.4.8.5. 3.3.3.324.3.3.3."),
    "disco": Genre((104, 134), 0.1, 52, (0.7, 1.3), (0.1, 0.4), (0.02, 0.3), (0, 6), (-9, -1), (0, 7),
        "9...9...9...9... ....9.......9..1 4.9.4.9.4.9.4.9. 9.8.7.8.9.8.7.8. 5..4..5..3..5.4. 4...3...3..23..."),
    "hiphop": Genre((76, 108), 0.5, 50, (1.1, 2.2), (0.2, 0.9), (0.02, 0.3), (3, 9), (-9, -1), (1, 8),
        "9..3..4.2.7..3.. ....9......19..1 8383838383838383 9..2..3...6..2.. 7.....2.3.....1. 2.112.112.111.11"),
    "jazz": Genre((90, 210), 0.1, 50, (1.4, 2.3), (0.12, 0.45), (0.02, 0.3), (-1, 5), (0, 7), (-8, -1),
        "3..2..3..2.1 ..11.3..21.2 9..9.79..9.7 9..9.19..9.1 3.21.4..32.2 4.35.44.35.4"),
    "metal": Genre((96, 190), 0.03, 38, (0.6, 1.2), (0.15, 0.8), (4, 14), (-8, 0), (-10, -2), (-7, 1),
        "9.655.659.655.65 ....9.......9.11 7.3.7.3.7.3.7.3. 9.656.658.656.65 9.656.658.656.65 2.2.2.222.2.2.22"),
    "pop": Genre((88, 134), 0.1, 55, (0.8, 1.5), (0.3, 0.9), (0.02, 0.3), (-4, 3), (2, 9), (-5, 2),
        "9...4...7.3.4... ....9.......9... 7.6.7.6.7.6.7.6. 9..3..5.6...4... 8...4..35...4... 5.4.5.4.5.4.4.3."),
    "reggae": Genre((66, 96), 0.4, 54, (0.9, 1.7), (0.06, 0.25), (0.02, 0.3), (3, 9), (-5, 3), (-4, 3),
        "2.......9.....1. 1......19.....2. 6.4.7.4.6.4.7.4. 6..56.3.2..56.3. ....9.2.....9.2. 2.2.2.2.2.2.2.2."),
    "rock": Genre((92, 156), 0.1, 43, (0.7, 1.4), (0.25, 0.9), (1.2, 5), (-5, 2), (-5, 2), (-3, 4),
        "9.1.....8.5...2. ....9.......9..1 8.6.8.6.8.6.8.6. 9.6.7.6.8.6.7.6. 8.4.5.4.6.4.5.4. 4.2.3.2.4.2.3.22"),
}
# fmt: on

FLAGS = flags.FlagValues()
flags.DEFINE_string("output", None, "directory to write to (required)", flag_values=FLAGS)
flags.DEFINE_integer(
    "tracks_per_genre", 20, f"number of tracks of each genre, 1 to {MAX_TRACKS_PER_GENRE}", flag_values=FLAGS
)
flags.DEFINE_float("seconds", 12, f"length of a track, {MIN_SECONDS} to {MAX_SECONDS} s", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "another seed gives other tracks", flag_values=FLAGS)


def synthesize_track(genre: str, *, seed: int, seconds: float, index: int = 0) -> Samples:
    """Return track `index` of a genre of GENRES: [round(seconds * 22050)] float32 with its peak below 1.

    The result depends only on the arguments.
    """
    rng = np.random.default_rng([seed, list(GENRES).index(genre), index])
    style, size = GENRES[genre], round(seconds * SAMPLE_RATE_HZ)
    patterns = [[int(step) / 9 for step in bar.replace(".", "0")] for bar in style.bars.split()]
    steps = len(patterns[0])
    step_s, swing = 240 / rng.uniform(*style.bpm) / steps, rng.uniform(0, style.swing)
    bars = int(seconds / (steps * step_s)) + 2
    begin_s = step_s * rng.integers(steps)  # A track is an excerpt, which begins anywhere in a bar.
    key, scale = style.register + rng.uniform(0, 12), (_MAJOR, _MINOR)[rng.integers(2)]
    roots = rng.choice([0, 3, 4, 5], bars).tolist()
    # A random walk over an octave and a half, reflected at both ends.
    melody = (5 + np.abs(rng.integers(-2, 3, bars * steps).cumsum() % 20 - 10)).reshape(bars, steps).tolist()
    rolloff, decay_s, drive = (rng.uniform(*drawn) for drawn in (style.rolloff, style.decay_s, style.drive))

    @cache
    def tone(degree: int) -> Samples:
        octave, place = divmod(degree, len(scale))
        return _tone(440 * 2 ** ((key + 12 * octave + scale[place] - 69) / 12), rolloff, decay_s)

    def play(pattern: list[float], sound: Callable[[int, int], Samples]) -> Samples:
        track = np.zeros(size, np.float32)
        bar, step = np.nonzero(rng.random((bars, steps)) < pattern)
        at_s = (bar * steps + step + swing * (step % 2)) * step_s - begin_s + rng.normal(0, 0.004, bar.size)
        starts, levels = (at_s * SAMPLE_RATE_HZ).astype(int).tolist(), rng.uniform(0.6, 1, bar.size).tolist()
        for start, level, *where in zip(starts, levels, bar.tolist(), step.tolist(), strict=True):
            if 0 <= start < size:
                struck = sound(*where)[: size - start]
                track[start : start + struck.size] += level * struck
        return track

    kick, snare, hat = _drum_kit(rng)
    drums = play(patterns[0], lambda bar, step: kick) + play(patterns[1], lambda bar, step: snare)
    drums += play(patterns[2], lambda bar, step: hat)
    bass = play(patterns[3], lambda bar, step: tone(roots[bar] - len(scale)))
    chords = play(patterns[4], lambda bar, step: np.sum([tone(roots[bar] + degree) for degree in (0, 2, 4)], axis=0))
    lead = play(patterns[5], lambda bar, step: tone(melody[bar][step]))
    # The chords are the reference of every other level.
    track = _at_level(np.tanh(drive * _at_level(chords, 0)), 0)
    track += _at_level(np.tanh(drive * _at_level(lead, 0)), rng.uniform(*style.lead_db))
    track += _at_level(bass, rng.uniform(*style.bass_db)) + _at_level(drums, rng.uniform(*style.drums_db))
    track += _at_level(rng.standard_normal(size, np.float32), rng.uniform(-46, -22))
    return track * np.float32(rng.uniform(0.4, 0.95) / np.abs(track).max())


def _tone(hz: float, rolloff: float, decay_s: float) -> Samples:
    """Return a struck note; the higher a partial, the sooner it decays."""
    time_s = _TIME_S[: int(4 * decay_s * SAMPLE_RATE_HZ)]
    amplitudes = np.arange(1, 1 + min(10, int(0.45 * SAMPLE_RATE_HZ / hz))) ** -rolloff
    phase = 2 * np.pi * hz * time_s
    # A polynomial in a decaying phasor, whose k-th power is partial k.
    phasor = np.exp(-0.3 / decay_s * time_s) * (np.cos(phase) + np.complex64(1j) * np.sin(phase))
    tone = np.polyval(np.array([*amplitudes[::-1], 0], np.float32), phasor).imag
    return tone * (1 - np.exp(-time_s / 0.005)) * np.exp(-0.7 / decay_s * time_s) * (1 - time_s / time_s[-1])


def _drum_kit(rng: np.random.Generator) -> tuple[Samples, Samples, Samples]:
    """Return a kick, a snare and a hi-hat."""
    time_s = _TIME_S[: int(0.3 * SAMPLE_RATE_HZ)]
    noise = rng.uniform(-0.5, 0.5, time_s.size + 1).astype(np.float32)
    fall = rng.uniform(0.5, 2) * (1 - np.exp(-time_s / 0.03))
    kick = np.sin(2 * np.pi * (rng.uniform(42, 70) * time_s + fall)) * np.exp(-time_s / rng.uniform(0.05, 0.15))
    ring = np.sin(2 * np.pi * rng.uniform(160, 240) * time_s) * np.exp(-time_s / 0.05)
    snare = ring + rng.uniform(0.5, 1.5) * noise[1:] * np.exp(-time_s / rng.uniform(0.03, 0.1))
    # The difference of white noise is bright.
    hat = np.diff(noise) * np.exp(-time_s / rng.uniform(0.01, 0.06))
    return kick, rng.uniform(0.4, 0.9) * snare, rng.uniform(0.15, 0.5) * hat


def _at_level(track: Samples, level_db: float) -> Samples:
    """Scale a track to a root mean square in dB; silence stays silent."""
    return track * np.float32(10 ** (level_db / 20) / max(np.sqrt(np.mean(track**2)), 1e-6))


def synthesize_dataset(output: str | Path, *, tracks_per_genre: int, seconds: float, seed: int = 0) -> list[Path]:
    """Write the tracks that do not exist yet, on all cores; return the paths of all tracks.

    Raises:
      UserError: a value is out of range; the output holds other audio, cannot be written, or another process writes
        there.

    Example::

      paths = beam_preprocess.synthesize_dataset("music", tracks_per_genre=20, seconds=12)
    """
    for name, value, low, high in (
        ("tracks_per_genre", tracks_per_genre, 1, MAX_TRACKS_PER_GENRE),
        ("seconds", seconds, MIN_SECONDS, MAX_SECONDS),
        ("seed", seed, 0, 2**63 - 1),
    ):
        if not low <= value <= high:  # NaN fails too.
            raise UserError(f"`{name}` must be {low} to {high}, got {value}")
    if "://" in str(output):
        raise UserError(f"`output` must be a local directory, got {str(output)!r}")
    tracks = [(genre, index) for genre in GENRES for index in range(tracks_per_genre)]
    paths = [Path(output) / genre / _name(genre, index) for genre, index in tracks]

    def write(path: Path, genre: str, index: int) -> None:
        _write_track(path, genre, index, seconds=seconds, seed=seed)

    _refuse_other_audio(Path(output))
    folders = [Path(output) / genre for genre in GENRES]
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        # More than a few threads only wait for the GIL. Without a terminal (disable=None) there is no bar.
        with (
            files.lock_directory(Path(output), "writing"),
            ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
            tqdm(total=len(paths), unit=" tracks", leave=False, dynamic_ncols=True, disable=None) as bar,
        ):
            for folder in folders:
                files.remove_temporary(folder)
            for _ in pool.map(write, paths, *zip(*tracks, strict=True)):
                bar.update()
    except OSError as error:
        raise UserError(f"cannot write to {error.filename}: {error.strerror}; give another `output`") from None
    return paths


def _refuse_other_audio(output: Path) -> None:
    """Raise UserError if a genre's folder holds audio of another origin: it would become part of the set."""
    for genre in GENRES:
        own = {_name(genre, index) for index in range(MAX_TRACKS_PER_GENRE)}
        for path in sorted((output / genre).glob("[!.]*")):
            if path.suffix.lower() == ".wav" and path.name not in own:
                raise UserError(
                    f"{output} holds other audio, such as {genre}/{path.name}; choose another `output`, or delete it"
                )


def _write_track(path: Path, genre: str, index: int, *, seconds: float, seed: int) -> None:
    """Write a track unless the file exists, by its seed, index and length."""
    comment = f"synthetic {genre}, seed {seed}, track {index}"
    with contextlib.suppress(OSError, soundfile.LibsndfileError), files.open_regular(path) as existing:
        header = soundfile.SoundFile(existing)
        if (header.comment, header.frames) == (comment, round(seconds * SAMPLE_RATE_HZ)):
            return
    track, wav = synthesize_track(genre, seed=seed, seconds=seconds, index=index), io.BytesIO()
    with soundfile.SoundFile(wav, "w", SAMPLE_RATE_HZ, 1, "PCM_16", format="WAV") as file:
        file.comment = comment
        file.write(track)
    # The audio can be made again, so it need not survive a power failure: syncing each file would take seconds.
    with files.atomic_write(path, sync=False) as temporary:
        temporary.write_bytes(wav.getvalue())


def _name(genre: str, index: int) -> str:
    """Return a name that no other track of the genre has."""
    row, first = divmod(index, 32)
    second = (row + 5 * first + 3 * list(GENRES).index(genre)) % 32
    return f"{_FIRST.split()[first]}-{_SECOND.split()[second]}.wav"


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Run the command."""
    command_line.no_arguments(positional)
    if not flag_values.output:
        raise UserError("--output=DIR, the directory to write to, is missing")
    options = {name: flag_values[name].value for name in ("tracks_per_genre", "seconds", "seed")}
    paths = synthesize_dataset(flag_values.output, **options)
    print(f"{len(paths)} tracks of {flag_values.seconds:g} s, {len(GENRES)} genres, are in {flag_values.output}")


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
