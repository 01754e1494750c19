"""Sections of a cross-validation's report, as HTML.

The report of a cross-validation: one HTML file that needs nothing else.

Made from what the cross-validation left in its directory (results.json, the models) and from the dataset.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import Manifest
from tfrecords.plots import Spectrogram
from tfrecords.show import spectrograms_of
from trainer.evaluation.cross_validation import REPORT_FILE, Run, load_results
from trainer.reports import evaluation, page
from trainer.reports.audio_links import AudioLinks
from trainer.reports.tables import unusual
from trainer.training_job import TrainingJob

# Pons, Lidy and Serra (2016), as quoted of it, not checked: track accuracy in percent, mean and standard deviation
# over folds.
PAPER = {
    "black_box": (87.25, 3.39),
    "time": (81.79, 4.72),
    "frequency": (59.59, 5.82),
    "time_frequency": (86.54, 4.29),
    "time_frequency_init": (87.68, 4.44),
}
_MOST_WRONG_TRACKS = 30
_MINUS, _DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def headline(results: Mapping[str, Any]) -> str:
    """The best model's accuracy on all tracks."""
    models, data = results["models"], results["data"]
    best = max(models, key=lambda name: models[name]["pooled"]["track_accuracy"])
    pooled = models[best]["pooled"]
    chosen = f" It is the best of {len(models)} models by this very number, so a little flattered." * (len(models) > 1)
    note = (
        "Each track is scored once, by models that were trained without it, their probabilities averaged over its "
        f"patches and over {page.count(len(results['seeds']), 'seed')}.{chosen} The interval is a bootstrap over "
        f"{_unit(results)}. Chance is always answering the most common genre."
    )
    return evaluation.headline(
        pooled["track_accuracy"],
        pooled["interval"],
        chance=data["chance"],
        said=f"of {data['tracks']} tracks recognised by {best}",
        note=note,
    )


def models(results: Mapping[str, Any]) -> str:
    """The table of models, each beside what the paper reports of it on its own data."""
    chance = results["data"]["chance"]
    body = "".join(_model_row(name, model, chance) for name, model in results["models"].items())
    head = (
        '<tr><td></td><td></td><th colspan="3" scope="colgroup" class="group">Over folds and seeds, mean ± std</th>'
        '<th colspan="2" scope="colgroup" class="group">All tracks once</th>'
        '<th scope="colgroup" class="elsewhere">Ballroom: another data set</th></tr>'
        '<tr><th scope="col" class="text">Model</th>'
        + "".join(f'<th scope="col">{name}</th>' for name in ("Parameters", "Patches", "Tracks", "Tracks, by vote"))
        + '<th scope="col">Tracks</th><th scope="col" class="text scale-cell">95 % interval</th>'
        '<th scope="col" class="elsewhere">as quoted of the paper, not checked</th></tr>'
    )
    table = page.scroll(f"<table><thead>{head}</thead><tbody>\n{body}</tbody></table>", "Models")
    note = (
        "Tracks by the highest mean probability of their patches, or by majority vote. On the scales, from 0 to 100 %, "
        f"the grey mark is chance ({page.percent(chance)}). The last column is no result of this run: Pons, Lidy and "
        "Serra (2016), majority vote, 10 folds of the Ballroom data set, 8 dances that differ in tempo. Its numbers "
        "were not checked against the paper, and cannot be compared with those of other data."
    )
    return page.section("Models", table + page.note(note))


def _model_row(name: str, model: Mapping[str, Any], chance: float) -> str:
    pooled = model["pooled"]
    accuracy, limits = page.percent(pooled["track_accuracy"]), page.percent_range(*pooled["interval"])
    scale = page.scale(
        pooled["track_accuracy"], pooled["interval"], mark=chance, text=f"{accuracy}, interval {limits}", small=True
    )
    spreads = (_spread(model[score]) for score in ("patch_accuracy", "track_accuracy", "track_accuracy_vote"))
    mean, std = PAPER.get(name, (math.nan, math.nan))
    paper = f"{mean:.2f} ± {std:.2f} %" if name in PAPER else _DASH
    last = f'<td class="text scale-cell">{limits}{scale}</td><td class="elsewhere">{paper}</td>'
    return page.row(name, f"{model['parameters']:,}", *spreads, accuracy, last=last)


def comparisons(results: Mapping[str, Any]) -> list[str]:
    """The differences between models with their intervals, as a forest plot; no section for a single model."""
    pairs = results["comparisons"]
    if not pairs:
        return []
    reach = max(abs(end) for pair in pairs for end in (*pair["interval"], pair["difference"]))
    reach = (math.floor(20 * reach) + 1) / 20
    ends = f"<span>{_points(-reach, 0)}</span><span>0</span><span>{_points(reach, 0)}</span>"
    last = f'<th scope="col" class="scale-cell">Points<div class="ends">{ends}</div></th>'
    table = page.table(
        ("Pair", "Difference", "95 % interval"), "".join(_pair_row(pair, reach) for pair in pairs), last=last
    )
    note = (
        "Percentage points of track accuracy by which the first model is better, on the same tracks. The interval is a "
        f"bootstrap over {_unit(results)}, of these trained models: other trainings (seeds, folds) would vary the "
        "difference further."
    )
    return [page.section("Differences between models", table + page.note(note))]


def _pair_row(pair: Mapping[str, Any], reach: float) -> str:
    low, high = pair["interval"]
    difference, limits = _points(pair["difference"]), f"{_points(low)} to {_points(high)}"

    def place(value: float) -> float:
        return 0.5 + value / (2 * reach)

    scale = page.scale(
        place(pair["difference"]),
        (place(low), place(high)),
        mark=0.5,
        text=f"{difference} points, interval {limits}",
        small=True,
    )
    name = f"{pair['one']} {_MINUS} {pair['other']}"
    return page.row(name, difference, limits, last=f'<td class="scale-cell">{scale}</td>')


def genres(results: Mapping[str, Any]) -> str:
    """How many of each genre's tracks each model recognised."""
    rows = []
    for name, tracks in results["data"]["tracks_per_label"].items():
        shares = [model["per_label"][name]["recall"] for model in results["models"].values()]
        cells = "".join(_shaded(share if tracks else None) for share in shares)
        rows.append(page.row(name, str(tracks), last=cells))
    table = page.table(("Genre", "Tracks", *results["models"]), "".join(rows))
    note = "How many of the genre's tracks each model recognised, by mean probability over patches and seeds."
    return page.section("Genres", table + page.note(note), "half" if len(results["models"]) <= 3 else "")


def _shaded(share: float | None) -> str:
    if share is None:
        return f"<td>{_DASH}</td>"
    shade = f"background:color-mix(in srgb, var(--band) {100 * share:.0f}%, transparent)"
    return f'<td class="shaded" style="{shade}">{page.percent(share)}</td>'


def confusions(results: Mapping[str, Any]) -> list[str]:
    """The confusion matrix of each model."""
    names = results["data"]["label_names"]
    aside = "half" if len(results["models"]) > 1 else ""
    return [
        evaluation.confusion(model["confusion_matrix"], names, title=f"Confusion matrix of {name}", aside=aside)
        for name, model in results["models"].items()
    ]


def wrong_tracks(
    results: Mapping[str, Any], spectrograms: Sequence[Spectrogram], audio_link: Callable[[str], str | None]
) -> str:
    """The tracks that were most often wrong, with spectrograms of some of them."""
    wrong = results["tracks_most_wrong"]
    if not wrong:
        return page.section("Tracks most often wrong", "<p>None: every model recognised every track.</p>")
    shown = wrong[:_MOST_WRONG_TRACKS]
    body = "".join(_wrong_row(track, audio_link(track["track_id"])) for track in shown)
    head = "".join(f'<th scope="col" class="text">{name}</th>' for name in ("Track", "Genre", "Taken for"))
    table = f'<table><thead><tr>{head}<th scope="col">Wrong</th></tr></thead><tbody>\n{body}</tbody></table>'
    votes = len(results["models"]) * len(results["seeds"])
    always = sum(track["wrong"] == 1 for track in wrong)
    note = (
        f"{len(wrong)} of {results['data']['tracks']} tracks were wrong for at least one of {votes} models and seeds, "
        f"{always} for all of them; the {len(shown)} that were so most often are shown. Perhaps their label is the "
        "mistake: listen."
    )
    pictures = evaluation.spectrograms(spectrograms) if spectrograms else ""
    return page.section("Tracks most often wrong", pictures + page.scroll(table, "Tracks") + page.note(note))


def _wrong_row(track: Mapping[str, Any], link: str | None) -> str:
    others = {label: count for label, count in track["predicted"].items() if label != track["label"]}
    taken = ", ".join(f"{label} {count}\N{MULTIPLICATION SIGN}" for label, count in others.items())
    return (
        f"<tr>{evaluation.track_name(track['track_id'], link)}"
        f'<td class="text">{page.escape(track["label"])}</td><td class="text several">{page.escape(taken)}</td>'
        f"<td>{100 * track['wrong']:.0f} %</td></tr>\n"
    )


def _unit(results: Mapping[str, Any]) -> str:
    """What the bootstrap draws."""
    return "artists" if results["data"]["grouped"] else "tracks (no artists were given)"


def _spread(score: Mapping[str, float]) -> str:
    return f"{100 * score['mean']:.1f} ± {page.percent(score['std'])}"


def _points(difference: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.{digits}f}".replace("-", _MINUS)


_SPECTROGRAMS = 10


def write_report(cv_dir: Path, *, audio_dir: str | None = None) -> Path:
    """Writes CV/report.html; a file there is replaced at once by the finished page.

    Args:
      cv_dir: of a finished cross-validation.
      audio_dir: where the tracks' audio lies, for links; by default where preprocessing found it. Tracks whose audio
        is not there are not linked.

    Returns:
      The file's path.

    Raises:
      UserError: no results, no dataset or another one, a model that cannot be read, the page cannot be written, or
        audio_dir is no folder.
    """
    results = load_results(cv_dir)
    data_dir = results["data"]["data_dir"]
    dataset = Dataset(data_dir)
    manifest = dataset.manifest
    if manifest.fingerprint != results["data"]["fingerprint"]:
        raise UserError(f"{data_dir} is not the dataset of {cv_dir}, or was written again since; cross-validate again")
    audio_link = AudioLinks(data_dir, audio_dir)
    worst = [track["track_id"] for track in results["tracks_most_wrong"][:_SPECTROGRAMS]]
    body = [
        headline(results),
        models(results),
        *comparisons(results),
        genres(results),
        evaluation.fact_table(_facts(results, manifest)),
        *confusions(results),
        *_filters(cv_dir, results),
        wrong_tracks(results, spectrograms_of(dataset, worst), audio_link),
    ]
    path = cv_dir / REPORT_FILE
    name = f"Genre recognition, cross-validation on {results['data']['name']}"
    page.write(path, title=name, heading=f"Music genre recognition: cross-validation on {manifest.name}", sections=body)
    return path


def _filters(cv_dir: Path, results: Mapping[str, Any]) -> list[str]:
    """What the filters of one run of each model have learned: of the first seed and fold, so that none was picked."""
    command_line.import_tensorflow()
    from trainer.evaluation.predictions import load_model
    from trainer.reports.filter_plots import filter_sections

    sections = []
    for name in results["models"]:
        run = Run(name, results["seeds"][0], 0)
        job_dir = run.job_dir(cv_dir)
        job = TrainingJob.load(job_dir)
        sections += filter_sections(
            job, load_model(job_dir), results["data"]["data_dir"], job.parts.test, run=f" ({run})"
        )
    return sections


def _facts(results: Mapping[str, Any], manifest: Manifest) -> dict[str, str]:
    data, training = results["data"], results["training"]
    groups = f"{data['groups']} artists or other groups, none in two folds" if data["grouped"] else "not kept apart"
    # Results that were saved before there was a choice all have validation.
    validates = training.get("validates", True)
    chosen = "the others, the fold before it chooses their epoch" if validates else "all others, without validation"
    patch_s = training["patch_frames"] / manifest.frames_per_s
    return {
        "Dataset": data["data_dir"],
        "Dataset fingerprint": data["fingerprint"],
        "Tracks": f"{data['tracks']}, {_per_genre(data['tracks_per_label'].values())} of each genre",
        "Artists": groups,
        **({"Warning": "; ".join(results["warnings"])} if results["warnings"] else {}),
        "Folds": f"{data['folds']}; each tests models trained on {chosen}",
        "Normalised by": "mean and variance per band of the training folds",
        "Seeds": ", ".join(map(str, results["seeds"])),
        "Patch": f"{training['patch_frames']} frames, {patch_s:.2f} s",
        "Front end": ", ".join(f"{name} {value}" for name, value in manifest.front_end.items()),
        "Training": training["described"],
        **({"Augmentation": training["augment"]} if training["augment"] else {}),
        **{name.capitalize(): value for name, value in unusual(training).items()},
        "Versions": ", ".join(f"{name} {version}" for name, version in training["versions"].items()),
    }


def _per_genre(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"
