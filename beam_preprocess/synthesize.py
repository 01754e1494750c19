"""Makes a data set to try everything on: ten procedurally synthesised "genres" in GTZAN's layout and file names.

    python -m beam_preprocess.synthesize --output=DIR [--genres=ten] [--tracks_per_genre=20] [--seconds=12] [--seed=0]

--genres=tempo gives four that differ in tempo alone, --genres=spectrum four that differ in spectrum alone, to see what
a model listens to (beam_preprocess/synthetic_contrasts.py says how they are made).

Writes DIR/blues/blues.00000.wav and so on: 22050 Hz, mono, 16 bits. The same flags give the same audio. Tracks that
are already there, whole and with the same seed and length, are kept; other files in DIR are left alone.
"""

import io
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import MappingProxyType

import soundfile
from absl import flags

from beam_preprocess import synthetic_contrasts
from beam_preprocess.synthetic_audio import SAMPLE_RATE_HZ, synthesize_track
from beam_preprocess.synthetic_genres import GENRES
from tfrecords import command_line, shutdown
from tfrecords.terminal_line import TerminalLine

__all__ = ["GENRES", "GENRE_SETS", "synthesize_dataset", "synthesize_track"]

# Set, as --genres names it -> its genres.
GENRE_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ten": tuple(GENRES),
        "tempo": tuple(synthetic_contrasts.STEPS),
        "spectrum": tuple(synthetic_contrasts.LOWEST_BAND),
    }
)
MAX_TRACKS_PER_GENRE = 100_000  # GTZAN's file names have five digits.
MIN_SECONDS, MAX_SECONDS = 3, 300

FLAGS = flags.FlagValues()
flags.DEFINE_string("output", None, "Directory to write to (required).", flag_values=FLAGS)
flags.DEFINE_string("genres", "ten", f"Which set: {', '.join(GENRE_SETS)}.", flag_values=FLAGS)
flags.DEFINE_integer("tracks_per_genre", 20, "Tracks of each genre.", flag_values=FLAGS)
flags.DEFINE_float("seconds", 12, f"Length of a track, {MIN_SECONDS} to {MAX_SECONDS}.", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Another seed gives other tracks.", flag_values=FLAGS)


@dataclass(frozen=True)
class _Track:
    """One file of a data set."""

    path: Path
    genre: str
    index: int
    seconds: float
    seed: int

    @property
    def comment(self) -> str:
        """What the file's header says of its origin, so that tracks of another seed are not taken for these."""
        return f"synthetic {self.genre}, seed {self.seed}, track {self.index}"

    def is_there(self) -> bool:
        """Whether the file exists, is whole, and is this track."""
        try:
            with soundfile.SoundFile(self.path) as file:
                return (file.comment, file.frames) == (self.comment, round(self.seconds * SAMPLE_RATE_HZ))
        except soundfile.LibsndfileError:
            return False

    def write(self) -> None:
        """Writes under a temporary name, then renames: a final name never holds half a track."""
        synthesize = synthesize_track if self.genre in GENRES else synthetic_contrasts.synthesize_track
        samples = synthesize(self.genre, seed=self.seed, seconds=self.seconds, index=self.index)
        wav = io.BytesIO()
        with soundfile.SoundFile(wav, "w", SAMPLE_RATE_HZ, 1, "PCM_16", format="WAV") as file:
            file.comment = self.comment
            file.write(samples)
        partial_path = self.path.with_name(f".{self.path.name}.partial")
        with shutdown.if_ended(partial_path.unlink):
            try:
                partial_path.write_bytes(wav.getvalue())
                partial_path.replace(self.path)
            finally:
                partial_path.unlink(missing_ok=True)


def synthesize_dataset(
    output: str | Path,
    *,
    genres: str = "ten",
    tracks_per_genre: int,
    seconds: float,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Writes every track that is not there yet, on all cores, and returns the paths of all of them.

    Args:
      output: a directory, made where it is missing.
      genres: a key of GENRE_SETS.
      tracks_per_genre: 1 to 100,000.
      seconds: length of a track, 3 to 300.
      seed: 0 or more.
      progress: called with the number of tracks written so far and to write, first with 0.

    Raises:
      UserError: for a value out of its range, or an output that cannot be written to.
    """
    if genres not in GENRE_SETS:
        raise command_line.UserError(f"genres must be one of {', '.join(GENRE_SETS)}, got {genres!r}")
    _check_range("tracks_per_genre", tracks_per_genre, 1, MAX_TRACKS_PER_GENRE)
    _check_range("seconds", seconds, MIN_SECONDS, MAX_SECONDS)
    if seed < 0:
        raise command_line.UserError(f"seed must be 0 or more, got {seed}")
    if "://" in str(output):
        raise command_line.UserError(f"the output must be a local directory, got {str(output)!r}")
    tracks = [
        _Track(Path(output) / genre / f"{genre}.{index:05d}.wav", genre, index, seconds, seed)
        for genre in GENRE_SETS[genres]
        for index in range(tracks_per_genre)
    ]
    try:
        for genre in GENRE_SETS[genres]:
            (Path(output) / genre).mkdir(parents=True, exist_ok=True)
        missing = [track for track in tracks if not track.is_there()]
        report = progress or (lambda written, total: None)
        report(0, len(missing))
        # Two processes would be 1.3 times faster than two threads on long sets, and slower to start on short ones;
        # more than a few threads only wait for the interpreter.
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for written, _ in enumerate(pool.map(_Track.write, missing), start=1):
                report(written, len(missing))
    except OSError as error:
        raise command_line.UserError(
            f"cannot write to {error.filename or output}: {error.strerror}; give another --output"
        ) from error
    return [track.path for track in tracks]


def _check_range(name: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:  # Not a number fails too.
        raise command_line.UserError(f"{name} must be {low} to {high}, got {value}")


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Runs the command line."""
    command_line.no_arguments(positional)
    if not flag_values.output:
        raise command_line.UserError("--output is missing; name the directory to write to: --output=DIR")
    begin_s, written, line = perf_counter(), 0, TerminalLine()

    def progress(done: int, total: int) -> None:
        nonlocal written
        written = done
        if total:
            line.show(f"{done} of {total} tracks")

    try:
        paths = synthesize_dataset(
            flag_values.output,
            genres=flag_values.genres,
            tracks_per_genre=flag_values.tracks_per_genre,
            seconds=flag_values.seconds,
            seed=flag_values.seed,
            progress=progress,
        )
    finally:
        line.clear()
    kept = f"; {len(paths) - written} tracks already there" if written < len(paths) else ""
    print(
        f"wrote {written} tracks of {flag_values.seconds:g} s, {len(GENRE_SETS[flag_values.genres])} genres, "
        f"to {flag_values.output} in {perf_counter() - begin_s:.1f} s{kept}"
    )


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
