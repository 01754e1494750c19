"""Measures how much better a score looks where one artist is in training and in test.

python -m tools.artist_effect --input=tracks.csv --output=DIR [--model=time] [--folds=5] [--seeds=1] [--recipe=modern]

The tracks of a list with artists are dealt into folds twice: so that no artist is in two folds, and as if every track
stood for itself (--groups=none). Both datasets are cross-validated in the same way. Printed are both scores and what
the second adds; DIR/artist_effect.json and DIR/artist_effect.png hold the same. DIR/apart and DIR/mixed are ordinary
cross-validations, which go on when the command is given again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import processes
from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import align_columns
from tfrecords.manifest import Manifest
from tfrecords.plots import LIGHT, new_figure, png, style_axes
from trainer.reports.formatting import percent, percent_interval

# How tracks are dealt -> the job's --groups, and what the figure calls it.
_DEALT = {"apart": ("auto", "artists kept apart"), "mixed": ("none", "artists on both sides")}

FLAGS = flags.FlagValues()
flags.DEFINE_string("input", "", "list of tracks with a column artist or group", flag_values=FLAGS)
flags.DEFINE_string("output", "", "directory to write to", flag_values=FLAGS)
flags.DEFINE_list("model", ["time"], "models, as for trainer.cross_validate", flag_values=FLAGS)
flags.DEFINE_string("recipe", "modern", "how they are trained", flag_values=FLAGS)
flags.DEFINE_integer("folds", 5, "folds of both datasets", lower_bound=3, flag_values=FLAGS)
flags.DEFINE_integer("seeds", 1, "trainings of each model and fold", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("epochs", None, "of each training; by default the recipe's", lower_bound=1, flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Make both datasets, cross-validate on both, and print and draw the scores."""
    command_line.no_arguments(positional)
    if not flag_values.input or not flag_values.output:
        raise UserError("--input=tracks.csv and --output=DIR are needed (see --help)")
    output, results = Path(flag_values.output), {}
    training = [f"--model={','.join(flag_values.model)}", f"--recipe={flag_values.recipe}"]
    training += [f"--seeds={flag_values.seeds}"]
    training += [f"--epochs={flag_values.epochs}"] if flag_values.epochs else []
    for name, (groups, _) in _DEALT.items():
        data, trained = output / name / "data", output / name / "cross_validation"
        where = (f"--input={flag_values.input}", f"--output={data}")
        processes.run_checked("-m", "beam_preprocess", *where, f"--folds={flag_values.folds}", f"--groups={groups}")
        if name == "apart" and not Manifest.load(data).split.get("grouped"):
            raise UserError(f"{flag_values.input} names no artists; add a column artist, or a column group")
        processes.run_checked("-m", "trainer.cross_validate", f"--data_dir={data}", f"--job_dir={trained}", *training)
        results[name] = json.loads((trained / "results.json").read_text("utf-8"))
    scores = scores_of(results)
    files.write_text(output / "artist_effect.json", json.dumps(scores, indent=1) + "\n")
    with files.atomic_write(output / "artist_effect.png") as temporary:
        temporary.write_bytes(draw(scores))
    print(table(scores))
    print(f"\npicture: {output / 'artist_effect.png'}")


def scores_of(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return model -> how tracks were dealt -> {track_accuracy, interval} of the pooled predictions."""
    return {
        model: {
            dealt: {key: each["models"][model]["pooled"][key] for key in ("track_accuracy", "interval")}
            for dealt, each in results.items()
        }
        for model in results["apart"]["models"]
    }


def table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the scores as aligned text, a row a model, with what mixing the artists adds."""
    rows = [["model", *(words for _, words in _DEALT.values()), "added"]]
    for model, own in scores.items():
        cells = [
            f"{percent(own[name]['track_accuracy'])} ({percent_interval(own[name]['interval'])})" for name in _DEALT
        ]
        added = own["mixed"]["track_accuracy"] - own["apart"]["track_accuracy"]
        rows.append([model, *cells, f"{100 * added:+.1f} points"])
    return align_columns(rows)


def draw(scores: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return a PNG of both track accuracies of each model with their 95 % intervals."""
    figure = new_figure((6, 3.2), LIGHT)
    axes = figure.add_subplot()
    style_axes(axes, LIGHT)
    for number, (name, (_, words)) in enumerate(_DEALT.items()):
        each = [own[name] for own in scores.values()]
        values = [100 * one["track_accuracy"] for one in each]
        # Wilson's interval need not hold a value of 0 or 1 within rounding.
        errors = [
            [max(0.0, value - 100 * one["interval"][0]) for value, one in zip(values, each, strict=True)],
            [max(0.0, 100 * one["interval"][1] - value) for value, one in zip(values, each, strict=True)],
        ]
        places = [index + 0.2 * (2 * number - 1) for index in range(len(each))]
        axes.errorbar(places, values, yerr=errors, fmt="o", capsize=4, label=words)
    axes.set_xticks(range(len(scores)), list(scores))
    axes.set_xlim(-0.6, len(scores) - 0.4)
    axes.set_ylim(0, 100)
    axes.set_ylabel("tracks recognised, %")
    axes.legend()
    return png(figure)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
