"""The page of a cross-validation, made of what it left in its directory (results.json, the models) and the dataset."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import Manifest
from tfrecords.plots import Spectrogram
from tfrecords.show import spectrograms_of
from trainer.config import WINDOWS
from trainer.evaluation.cross_validation import REPORT_FILE, Run, load_results
from trainer.reports import evaluation, page
from trainer.reports.formatting import patch
from trainer.reports.page import AudioLinks, Figure
from trainer.reports.tables import unusual_options
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
_SPECTROGRAMS = 10


def write_report(cv_dir: Path, *, audio_dir: str | None = None) -> Path:
    """Write CV/report.html; a file there is replaced at once by the finished page.

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
    text = render(
        results,
        facts=_facts(results, manifest),
        filters=_filters(cv_dir, results),
        spectrograms=spectrograms_of(dataset, worst),
        audio_link=audio_link,
    )
    files.write_text(cv_dir / REPORT_FILE, text)
    return cv_dir / REPORT_FILE


def render(
    results: Mapping[str, Any],
    *,
    facts: Mapping[str, str],
    filters: Sequence[Figure] = (),
    spectrograms: Sequence[Spectrogram] = (),
    audio_link: Callable[[str], str | None] = lambda track_id: None,
) -> str:
    """Return the page of a cross-validation as HTML.

    Args:
      results: of `trainer.evaluation.results.results`.
      facts: what was measured and with what, in the order shown.
      filters: what the models' filters have learned.
      spectrograms: of tracks that were most often wrong.
      audio_link: track id -> URI of its audio, or None.
    """
    models, names = results["models"], results["data"]["label_names"]
    pairs = results["comparisons"]
    reach = _reach(pairs)
    return page.render(
        "cross_validation.html",
        title=f"Genre recognition, cross-validation on {results['data']['name']}",
        heading=f"Music genre recognition: cross-validation on {results['data']['name']}",
        results=results,
        best=max(models, key=lambda name: models[name]["pooled"]["track_accuracy"]),
        paper=PAPER,
        reach=reach,
        pairs=[_on_scale(pair, reach) for pair in pairs],
        facts=facts,
        few_genres=len(names) <= evaluation.MOST_GENRES_ASIDE,
        confusions=[
            evaluation.confusion(model["confusion_matrix"], names, title=f"Confusion matrix of {name}")
            for name, model in models.items()
        ],
        # Results that were saved before it was measured have none.
        reliabilities=[
            evaluation.reliability(model["calibration"], title=f"Confidence of {name}")
            for name, model in models.items()
            if "calibration" in model
        ],
        filters=filters,
        spectrograms=evaluation.spectrograms(spectrograms) if spectrograms else None,
        most_wrong_tracks=_MOST_WRONG_TRACKS,
        audio_link=audio_link,
    )


def _reach(pairs: Sequence[Mapping[str, Any]]) -> float:
    """How far the scale of differences reaches to both sides of 0: past all intervals, in steps of 5 points."""
    furthest = max((abs(end) for pair in pairs for end in (*pair["interval"], pair["difference"])), default=0.0)
    return (math.floor(20 * furthest) + 1) / 20


def _on_scale(pair: Mapping[str, Any], reach: float) -> dict[str, Any]:
    """A pair with the places of its difference and of its interval's ends on a scale from 0 to 1."""
    point, *ends = (0.5 + value / (2 * reach) for value in (pair["difference"], *pair["interval"]))
    return {**pair, "point": point, "ends": ends}


def _filters(cv_dir: Path, results: Mapping[str, Any]) -> list[Figure]:
    """What the filters of one run of each model have learned: of the first seed and fold, so that none was picked."""
    command_line.import_tensorflow()
    from trainer.evaluation.predictions import load_model
    from trainer.reports.filter_plots import filter_figures

    figures = []
    for name in results["models"]:
        run = Run(name, results["seeds"][0], 0)
        job_dir = run.job_dir(cv_dir)
        job = TrainingJob.load(job_dir)
        figures += filter_figures(
            job, load_model(job_dir), results["data"]["data_dir"], job.parts.test, run=f" ({run})"
        )
    return figures


def _facts(results: Mapping[str, Any], manifest: Manifest) -> dict[str, str]:
    data, training = results["data"], results["training"]
    groups = f"{data['groups']} artists or other groups, none in two folds" if data["grouped"] else "not kept apart"
    # Results that were saved before there was a choice all have validation.
    validates = training.get("validates", True)
    chosen = "the others, the fold before it chooses their epoch" if validates else "all others, without validation"
    # Results that were saved before there were modes are of windows.
    mode = training.get("patch_mode", WINDOWS)
    return {
        "Dataset": data["data_dir"],
        "Dataset fingerprint": data["fingerprint"],
        "Tracks": f"{data['tracks']}, {_per_genre(data['tracks_per_label'].values())} of each genre",
        "Artists": groups,
        **({"Warning": "; ".join(results["warnings"])} if results["warnings"] else {}),
        "Folds": f"{data['folds']}; each tests models trained on {chosen}",
        "Normalised by": "mean and variance per band of the training folds",
        "Seeds": ", ".join(map(str, results["seeds"])),
        "Patch": patch(training["patch_frames"], mode, manifest.frames_per_s),
        "Front end": ", ".join(f"{name} {value}" for name, value in manifest.front_end.items()),
        "Training": training["described"],
        **({"Augmentation": training["augment"]} if training["augment"] else {}),
        **{name.capitalize(): value for name, value in unusual_options(training).items()},
        "Versions": ", ".join(f"{name} {version}" for name, version in training["versions"].items()),
    }


def _per_genre(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"
