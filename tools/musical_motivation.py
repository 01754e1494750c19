"""Checks the paper's thesis where the answer is known: filters along time hear tempo, filters along frequency spectrum.

python -m tools.musical_motivation --output=DIR [--tracks_per_genre=30] [--seconds=12] [--epochs=20] [--seed=0]

Two sets of four genres are synthesised, which differ in tempo alone and in spectrum alone, and `time` and `frequency`
cross-validated on both in four folds. Exit status 1 unless each wins on its own set by 25 points: the lower end of the
difference's 95 % interval counts. DIR must be empty or not there before.

A track is bursts of tones on a grid of steps. In each beat the first half of the steps sound and the others rest; the
tempo is the number of steps in a beat. The tones lie at the centres of ten of the front end's forty mel bands; the
spectrum is which ten. A genre fixes the one and draws the other as all else is drawn.

No single frame tells a tempo: from the end of a burst to the next one's begin there is more than a frame, and every
second step sounds, whatever the tempo. No single band tells a spectrum: each is loud in one of the four, and all loud
bands of a track sound at the same times and, after the front end's filters, equally loud.
"""

import json
import math
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
from absl import flags
from numpy.typing import NDArray

from benchmarks import processes
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import align_columns

# Set -> genre -> steps in a beat, or the lowest of the loud bands, which are this one, the next, and each 8 above.
SETS = {
    "tempo": {"bpm_080": 10, "bpm_100": 8, "bpm_133": 6, "bpm_200": 4},
    "spectrum": {"timbre_a": 0, "timbre_b": 2, "timbre_c": 4, "timbre_d": 6},
}
_MODELS = {"tempo": ("time", "frequency"), "spectrum": ("frequency", "time")}
_MARGIN = 0.25
_RATE_HZ, _BANDS = 22050, 40
# A burst is shorter than the shortest step less a frame, 0.0464 s.
_STEP_S, _BURST_S = (0.072, 0.078), (0.018, 0.0255)
# Few tracks make few steps an epoch: small ones, and larger than the trainer's own rate.
_TRAINING = ("--model=time,frequency", "--batch_size=32", "--learning_rate=0.003")

FLAGS = flags.FlagValues()
flags.DEFINE_string("output", None, "directory to write to (required)", flag_values=FLAGS)
flags.DEFINE_integer("tracks_per_genre", 30, "tracks of each genre", lower_bound=4, flag_values=FLAGS)
flags.DEFINE_float("seconds", 12.0, "length of a track", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("epochs", 20, "of each training", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the tracks", lower_bound=0, flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Makes both sets, cross-validates on each, and prints the scores; returns the exit status."""
    command_line.no_arguments(positional)
    if not flag_values.output:
        raise UserError("--output is missing; name the directory to write to: --output=DIR")
    output = Path(flag_values.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output={output} must be an empty directory, or not be there yet; name another one")
    rows, holds = [["set", "better", "other", "lead", "95 % interval", ""]], True
    for number, (name, genres) in enumerate(SETS.items()):
        audio, data, trained = (output / name / folder for folder in ("audio", "data", "cross_validation"))
        for genre in genres:
            (audio / genre).mkdir(parents=True)
            for index in range(flag_values.tracks_per_genre):
                rng = np.random.default_rng([flag_values.seed, number, [*genres].index(genre), index])
                soundfile.write(audio / genre / f"{index:03d}.wav", play(genre, flag_values.seconds, rng), _RATE_HZ)
        processes.run_checked("-m", "beam_preprocess", f"--input={audio}", f"--output={data}", "--folds=4")
        epochs = (f"--epochs={flag_values.epochs}", f"--patience={flag_values.epochs}")
        where = (f"--data_dir={data}", f"--job_dir={trained}")
        processes.run_checked("-m", "trainer.cross_validate", *where, *_TRAINING, *epochs)
        row, wins = verdict(json.loads((trained / "results.json").read_text("utf-8")), *_MODELS[name])
        rows.append([name, *row])
        holds &= wins
    print(align_columns(rows))
    return int(not holds)


def play(genre: str, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """One track, [round(22050 * seconds)], its peak below 1; what it draws depends on neither tempo nor spectrum."""
    drawn = {name: int(rng.choice(list(genres.values()))) for name, genres in SETS.items()}
    steps, lowest_band = (genres.get(genre, drawn[name]) for name, genres in SETS.items())
    time_s = np.arange(round(seconds * _RATE_HZ)) / _RATE_HZ
    step_s, burst_s = rng.uniform(*_STEP_S), rng.uniform(*_BURST_S)
    # A track is an excerpt: it begins anywhere in a beat.
    step, within = np.divmod(time_s / step_s + steps * rng.random(), 1)
    phase = within * step_s / burst_s
    bursts = np.where((phase < 1) & (step % steps < steps // 2), np.sin(np.pi * phase) ** 2, 0)
    # Band b begins at edge b, has its centre at the next and ends at the one after.
    edges_hz = librosa.mel_frequencies(_BANDS + 2, fmin=0, fmax=_RATE_HZ / 2)
    gain_db = rng.uniform(-39, -29)
    tones = np.zeros_like(time_s)
    for band in sorted([*range(lowest_band, _BANDS, 8), *range(lowest_band + 1, _BANDS, 8)]):
        # The filters have equal areas: a tone's power passes divided by their width.
        width = (edges_hz[band + 2] - edges_hz[band]) / edges_hz[2]
        level = 10 ** ((gain_db + rng.uniform(-3, 3)) / 20) * math.sqrt(width)
        tones += level * np.sin(2 * np.pi * (edges_hz[band + 1] * time_s + rng.random()))
    return bursts * tones + 10 ** (rng.uniform(-56, -46) / 20) * rng.standard_normal(time_s.size)


def verdict(results: dict[str, Any], better: str, other: str) -> tuple[list[str], bool]:
    """What the results of a cross-validation say of a pair of models.

    Returns:
      A row of the table, and whether `better` wins by the margin.
    """
    (pair,) = results["comparisons"]
    sign = 1 if pair["one"] == better else -1
    low, high = sorted(sign * end for end in pair["interval"])
    scores = [f"{name} {results['models'][name]['pooled']['track_accuracy']:.1%}" for name in (better, other)]
    holds = low >= _MARGIN
    lead = f"{100 * sign * pair['difference']:+.1f}"
    return [*scores, lead, f"{100 * low:+.1f} to {100 * high:+.1f}", "holds" if holds else "DOES NOT HOLD"], holds


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
