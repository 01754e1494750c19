"""Checks the paper's thesis where the answer is known: filters along time hear tempo, filters along frequency spectrum.

python -m tools.musical_motivation --output=DIR [--tracks_per_genre=30] [--seconds=12] [--epochs=20] [--seeds=1]
    [--margin=0.25] [--seed=0]

Two sets of four genres are synthesised, which differ in tempo alone and in spectrum alone
(beam_preprocess/synthetic_contrasts.py), preprocessed in four folds, and `time` and `frequency` cross-validated on
them. The one must be better by --margin on the tempo set, the other on the spectrum set: the lower end of the
difference's 95 % interval counts. A third set is the tempo set with its labels dealt to its tracks at random: there
both models must be at chance (within the 99 % interval), else the score itself leaks.

DIR then holds results.json, results.md, and a folder of each set with its data and cross-validation. It must be empty
or not there before. Exit status 1 if anything did not hold, 2 if something could not be run.
"""

import csv
import dataclasses
import json
import random
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from beam_preprocess.synthesize import synthesize_dataset
from benchmarks import processes
from tfrecords import command_line
from tfrecords.command_line import UserError
from trainer.scoring.metrics import wilson_interval

FOLDS = 4
# Set -> the model that must be the better one, and the other one.
THESIS = {"tempo": ("time", "frequency"), "spectrum": ("frequency", "time")}
SHUFFLED = "shuffled"
_MODELS = ("time", "frequency")
# Of the intervals that must include chance: of two right ones at 95 %, one misses it for one seed in ten.
_CHANCE_CONFIDENCE = 0.99
# Few tracks make few steps an epoch: small ones, and larger than the trainer's own rate.
_TRAINING = ("--batch_size=32", "--learning_rate=0.003")

FLAGS = flags.FlagValues()
flags.DEFINE_string("output", None, "directory to write to (required)", flag_values=FLAGS)
flags.DEFINE_integer("tracks_per_genre", 30, "tracks of each genre", lower_bound=FOLDS, flag_values=FLAGS)
flags.DEFINE_float("seconds", 12.0, "length of a track", flag_values=FLAGS)
flags.DEFINE_integer("epochs", 20, "of each training, at most", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("seeds", 1, "trainings of each model and fold", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float(
    "margin", 0.25, "accuracy by which a model must win", lower_bound=0.0, upper_bound=1.0, flag_values=FLAGS
)
flags.DEFINE_integer("seed", 0, "of the tracks and of the shuffled labels", lower_bound=0, flag_values=FLAGS)


@dataclasses.dataclass(frozen=True)
class Score:
    """How many tracks of a set a model recognised, each as part of a fold that its training never saw.

    Attributes:
      set: tempo, spectrum or shuffled.
      model: its name.
      right: tracks recognised.
      tracks: all of the set.
      chance: the accuracy of always answering the most common label.
    """

    set: str
    model: str
    right: int
    tracks: int
    chance: float

    @property
    def accuracy(self) -> float:
        """Share of the tracks that were recognised."""
        return self.right / self.tracks

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(self.right, self.tracks)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One claim, what was found of it, and whether that bears it out."""

    text: str
    holds: bool


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Makes the sets, cross-validates on each, prints and writes what was found; returns the exit status."""
    command_line.no_arguments(positional)
    if not flag_values.output:
        raise UserError("--output is missing; name the directory to write to: --output=DIR")
    output = Path(flag_values.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output={output} must be an empty directory, or not be there yet; name another one")
    found = {}
    for name, source in _make_sources(flag_values, output).items():
        print(f"{name}: preprocessing, then {len(_MODELS) * FOLDS * flag_values.seeds} trainings", flush=True)
        found[name] = _cross_validate(flag_values, source, output / name, name)
    scores, findings = scores_of(found), [*contrasts(found, flag_values.margin), *at_chance(found)]
    text = markdown(scores, findings)
    (output / "results.md").write_text(text, "utf-8")
    (output / "results.json").write_text(json.dumps(_as_json(scores, findings), indent=1) + "\n", "utf-8")
    print(f"\n{text}")
    return 0 if all(finding.holds for finding in findings) else 1


def _make_sources(flag_values: flags.FlagValues, output: Path) -> dict[str, Path]:
    """Set -> what the preprocessing job reads: a folder of audio, or a list with other labels."""
    paths = {
        name: synthesize_dataset(
            output / name / "audio",
            genres=name,
            tracks_per_genre=flag_values.tracks_per_genre,
            seconds=flag_values.seconds,
            seed=flag_values.seed,
        )
        for name in THESIS
    }
    shuffled = output / "tempo" / "shuffled.csv"
    write_shuffled(paths["tempo"], shuffled, seed=flag_values.seed)
    return {name: output / name / "audio" for name in THESIS} | {SHUFFLED: shuffled}


def write_shuffled(paths: Sequence[Path], listing: Path, *, seed: int) -> None:
    """Writes a CSV of path and genre in which the names of the tracks' folders are dealt to them at random.

    Args:
      paths: of tracks, somewhere below the listing's folder.
      listing: the CSV.
      seed: of the deal.
    """
    labels = [path.parent.name for path in paths]
    random.Random(seed).shuffle(labels)  # noqa: S311 - a draw, not a secret
    with listing.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "genre"])
        rows.writerows([path.relative_to(listing.parent), label] for path, label in zip(paths, labels, strict=True))


def _cross_validate(flag_values: flags.FlagValues, source: Path, folder: Path, name: str) -> dict[str, Any]:
    """What trainer.cross_validate has in its results.json."""
    data, trainings = folder / "data", folder / "cross_validation"
    _run("-m", "beam_preprocess", f"--input={source}", f"--output={data}", f"--folds={FOLDS}", f"--name={name}")
    _run(
        "-m",
        "trainer.cross_validate",
        f"--data_dir={data}",
        f"--job_dir={trainings}",
        f"--model={','.join(_MODELS)}",
        f"--seeds={flag_values.seeds}",
        f"--epochs={flag_values.epochs}",
        f"--patience={flag_values.epochs}",
        *_TRAINING,
    )
    return json.loads((trainings / "results.json").read_text("utf-8"))


def _run(*command: str) -> None:
    try:
        processes.run_checked(*command)
    except subprocess.CalledProcessError as error:
        ended = f"ended by signal {-error.returncode}" if error.returncode < 0 else f"failed ({error.returncode})"
        raise UserError(f"python {shlex.join(command)} {ended}; what it said is above") from None


def scores_of(found: Mapping[str, Mapping[str, Any]]) -> list[Score]:
    """A score for each set and model.

    Args:
      found: set -> results of its cross-validation, as trainer.cross_validation.results has them; so below.
    """
    return [
        Score(
            set=name,
            model=model,
            right=round(results["models"][model]["pooled"]["track_accuracy"] * results["data"]["tracks"]),
            tracks=results["data"]["tracks"],
            chance=results["data"]["chance"],
        )
        for name, results in found.items()
        for model in _MODELS
    ]


def contrasts(found: Mapping[str, Mapping[str, Any]], margin: float) -> list[Finding]:
    """For each set of the thesis, whether the model that listens along the right axis wins by the margin."""
    findings = []
    for name, (better, other) in THESIS.items():
        difference, low, high = _difference(found[name], better, other)
        says = f"{name}: {better} - {other} = {100 * difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
        findings.append(Finding(f"{says}, to be at least {100 * margin:+.1f}", low >= margin))
    return findings


def _difference(results: Mapping[str, Any], one: str, other: str) -> tuple[float, float, float]:
    """One's accuracy less the other's, and its interval, whichever way round the pair was compared."""
    pair = next(pair for pair in results["comparisons"] if {pair["one"], pair["other"]} == {one, other})
    low, high = pair["interval"]
    return (pair["difference"], low, high) if pair["one"] == one else (-pair["difference"], -high, -low)


def at_chance(found: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """For each model, whether it finds nothing where there is nothing to be found."""
    findings = []
    for score in scores_of({SHUFFLED: found[SHUFFLED]}):
        low, high = wilson_interval(score.right, score.tracks, _CHANCE_CONFIDENCE)
        says = f"labels shuffled: {score.model} {_percent(score.accuracy)} %"
        interval = f"{100 * _CHANCE_CONFIDENCE:g} % interval [{_percent(low)}, {_percent(high)}]"
        includes = f"to include chance, {_percent(score.chance)} %"
        findings.append(Finding(f"{says}, {interval}, {includes}", low <= score.chance <= high))
    return findings


def markdown(scores: Sequence[Score], findings: Sequence[Finding]) -> str:
    """The table of scores and a line for each finding."""
    lines = [
        f"Track accuracy in percent, {FOLDS} folds, each tested by models trained without it; Wilson's 95 % interval:",
        "",
        "| set | model | accuracy | interval | tracks | chance |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for score in scores:
        low, high = map(_percent, score.interval)
        cells = (score.set, score.model, _percent(score.accuracy), f"{low} - {high}", str(score.tracks))
        lines.append(f"| {' | '.join(cells)} | {_percent(score.chance)} |")
    lines += ["", *(f"- {'holds' if finding.holds else 'DOES NOT HOLD'}: {finding.text}" for finding in findings)]
    thesis = all(finding.holds for finding in findings)
    verdict = "The thesis held." if thesis else "The thesis did not hold, or the score cannot be trusted."
    return "\n".join([*lines, "", verdict, ""])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _as_json(scores: Sequence[Score], findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "scores": [
            dataclasses.asdict(score) | {"accuracy": score.accuracy, "interval": list(score.interval)}
            for score in scores
        ],
        "findings": [dataclasses.asdict(finding) for finding in findings],
        "holds": all(finding.holds for finding in findings),
    }


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
