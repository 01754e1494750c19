"""The report of a cross-validation: one HTML file that needs nothing else.

Made from what the cross-validation left in its directory (results.json, the models) and from the dataset.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrecords import command_line
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest
from tfrecords.show import spectrograms_of
from trainer.cross_validation import sections
from trainer.cross_validation.plan import REPORT_FILE, Run, load_results
from trainer.cross_validation.tables import unusual
from trainer.reports import page, report_sections
from trainer.reports.audio_links import AudioLinks
from trainer.training_job import TrainingJob

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
    manifest = Manifest.load(data_dir)
    if manifest.fingerprint != results["data"]["fingerprint"]:
        raise UserError(f"{data_dir} is not the dataset of {cv_dir}, or was written again since; cross-validate again")
    audio_link = AudioLinks(data_dir, audio_dir)
    worst = [track["track_id"] for track in results["tracks_most_wrong"][:_SPECTROGRAMS]]
    body = [
        sections.headline(results),
        sections.models(results),
        *sections.comparisons(results),
        sections.genres(results),
        report_sections.facts(_facts(results, manifest)),
        *sections.confusions(results),
        *_filters(cv_dir, results),
        sections.wrong_tracks(results, spectrograms_of(manifest, data_dir, worst), audio_link),
    ]
    path = cv_dir / REPORT_FILE
    name = f"Genre recognition, cross-validation on {results['data']['name']}"
    page.write(path, title=name, heading=f"Music genre recognition: cross-validation on {manifest.name}", sections=body)
    return path


def _filters(cv_dir: Path, results: Mapping[str, Any]) -> list[str]:
    """What the filters of one run of each model have learned: of the first seed and fold, so that none was picked."""
    command_line.import_tensorflow()
    from trainer.reports.filter_sections import filter_sections
    from trainer.scoring.predictions import load_model

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
