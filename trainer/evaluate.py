"""Scores a trained model on tracks that training never saw.

python -m trainer.evaluate --job_dir=JOB [--data_dir=OTHER --parts=all] [--output_dir=DIR] [--audio_dir=DIR]

With --job_dir alone: the job's own test part, written to the job's directory. Writes metrics.json and report.html, a
page that needs no network.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from tfrecords.augmentation import Augmentation
from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import Manifest
from trainer import models, training_job
from trainer.distribution.precision import FLOAT32
from trainer.evaluation.metrics import LEAKING, evaluation_warnings, groups_of
from trainer.reports.audio_links import AudioLinks
from trainer.training import recipes
from trainer.training.resume import tell_unfinished
from trainer.training_job import TrainingJob

_SAMPLES = 10

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of the training job", flag_values=FLAGS)
flags.DEFINE_string("data_dir", None, "another dataset; by default the one it was trained on", flag_values=FLAGS)
flags.DEFINE_list("parts", None, "which parts, or all; by default the test part", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "where to write; the job's directory for its own test part", flag_values=FLAGS)
flags.DEFINE_string(
    "audio_dir", None, "of the tracks' audio, for links; by default where preprocessing found it", flag_values=FLAGS
)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Evaluates, prints a table, writes two files."""
    command_line.no_arguments(positional)
    if not flag_values.job_dir:
        raise UserError("--job_dir=JOB is needed (see --help)")
    if (flag_values.data_dir or flag_values.parts) and not flag_values.output_dir:
        raise UserError(
            "--data_dir and --parts need --output_dir=DIR; the job's directory is for the score of its own test part"
        )
    job_dir = Path(flag_values.job_dir)
    output_dir = Path(flag_values.output_dir or job_dir)
    summary = evaluate(
        job_dir,
        output_dir,
        data_dir=flag_values.data_dir,
        parts=flag_values.parts,
        audio_dir=flag_values.audio_dir,
    )
    from trainer.reports.evaluation import text_table

    print(text_table(summary))
    for warning in evaluation_warnings(summary).values():
        print(f"warning: {warning}")
    print(f"\nreport: {output_dir / training_job.REPORT_FILE}")


def evaluate(
    job_dir: Path,
    output_dir: Path,
    *,
    data_dir: str | None = None,
    parts: Sequence[str] | None = None,
    audio_dir: str | None = None,
) -> dict[str, Any]:
    """Writes metrics.json and report.html, and returns what metrics.json holds.

    Raises:
      UserError: no trained job, no dataset, or one that does not fit the model; output_dir cannot be written, or
        another process writes there; audio_dir is no folder.
    """
    job = TrainingJob.load(job_dir)
    tell_unfinished(job, job_dir)
    data_dir = data_dir or job.data_dir
    manifest = Manifest.load(data_dir)
    _check_fits(job, manifest, data_dir)
    chosen = _choose_parts(job, manifest, parts)
    audio_link = AudioLinks(data_dir, audio_dir)
    training_job.make_dir(output_dir, "output_dir")
    with training_job.lock_job_dir(output_dir):
        return _evaluate(job, job_dir, output_dir, manifest=manifest, data_dir=data_dir, parts=chosen, links=audio_link)


def _evaluate(
    job: TrainingJob,
    job_dir: Path,
    output_dir: Path,
    *,
    manifest: Manifest,
    data_dir: str,
    parts: tuple[str, ...],
    links: AudioLinks,
) -> dict[str, Any]:
    command_line.import_tensorflow()
    from tfrecords.show import samples
    from trainer.evaluation.metrics import summarize
    from trainer.evaluation.new_groups import scores_of_new_groups
    from trainer.evaluation.predictions import load_model, predict
    from trainer.reports.evaluation import write_report
    from trainer.reports.filter_plots import filter_sections

    model = load_model(job_dir)
    predictions = predict(job, model, data_dir, parts)
    summary = summarize(predictions)
    summary |= {"data_dir": data_dir, "parts": parts, "model": job.model, "recipe": job.recipe, "seed": job.seed}
    summary["seen_in_training"] = _seen_in_training(job, manifest, parts)
    summary["groups"] = groups_of(manifest)
    summary["new_groups"] = None
    if summary["groups"] == LEAKING and summary["seen_in_training"] is False:
        roles = dataclasses.replace(job.parts, test=parts)
        summary["new_groups"] = scores_of_new_groups(predictions, manifest, data_dir, roles)
    summary["tracks_without_patch"] = sum(manifest.tracks(parts).values()) - summary["tracks"]
    history = training_job.read_history(job_dir)
    # Metrics last: where they are, the report is there too.
    write_report(
        output_dir / training_job.REPORT_FILE,
        summary=summary,
        history=history,
        best_epoch=job.rules.best_epoch(recipes.rows_of(history)) if job.rules.checkpoint_metric else 0,
        samples=samples(Dataset(data_dir, manifest), parts=parts, count=_SAMPLES),
        facts=_facts(job, manifest, summary),
        training_data=bool(summary["seen_in_training"]),
        filters=filter_sections(job, model, data_dir, parts),
        audio_link=links,
    )
    files.write_text(output_dir / training_job.METRICS_FILE, json.dumps(summary, indent=1) + "\n")
    return summary


def _check_fits(job: TrainingJob, manifest: Manifest, data_dir: str) -> None:
    if manifest.labels != job.labels:
        raise UserError(
            f"{data_dir} has the labels {', '.join(manifest.labels)}; the model knows {', '.join(job.labels)}"
        )
    for name, value in job.front_end.items():
        if manifest.front_end.get(name) != value:
            raise UserError(
                f"{data_dir} was made with {name} {manifest.front_end.get(name)}, the model was trained with {value}; "
                "preprocess it with the same front end"
            )


def _choose_parts(job: TrainingJob, manifest: Manifest, parts: Sequence[str] | None) -> tuple[str, ...]:
    if parts:
        return manifest.select(parts)
    if manifest.fingerprint == job.fingerprint:
        return job.parts.test
    raise UserError(
        "the dataset is not the one that the model was trained on (or was written again since), so its parts may hold "
        "other tracks; say which to score with --parts, or train again"
    )


def _seen_in_training(job: TrainingJob, manifest: Manifest, parts: Sequence[str]) -> bool | None:
    """Whether the parts were trained or validated on; None for another dataset, whose tracks nobody compared."""
    if manifest.fingerprint != job.fingerprint:
        return None
    return bool(set(parts) & {*job.parts.train, *job.parts.valid})


def _facts(job: TrainingJob, manifest: Manifest, summary: Mapping[str, Any]) -> dict[str, str]:
    training_dataset = {}
    if manifest.fingerprint != job.fingerprint:
        training_dataset = {"Training dataset": f"{job.data_dir}, fingerprint {job.fingerprint}"}
    patch_s = job.patch_frames / manifest.frames_per_s
    return {
        "Model": ", ".join([job.model, *(f"{name} {size}" for name, size in job.model_options.items())]),
        **_filters(job),
        "Scored on": ", ".join(summary["parts"]),
        **evaluation_warnings(summary),
        "Dataset": summary["data_dir"],
        "Dataset fingerprint": manifest.fingerprint,
        **training_dataset,
        "Trained on": ", ".join(job.parts.train),
        "Epoch chosen on": _chosen_on(job),
        "Normalised by": "mean and variance per band of the training parts",
        "Patch": f"{job.patch_frames} frames, {patch_s:.2f} s",
        "Front end": ", ".join(f"{name} {value}" for name, value in job.front_end.items()),
        "Training": job.described,
        **_augmentation(job),
        **({"Precision": job.precision} if job.precision != FLOAT32 else {}),
        "Seed": str(job.seed),
        "Versions": ", ".join(f"{name} {version}" for name, version in job.versions.items()),
    }


def _chosen_on(job: TrainingJob) -> str:
    if job.rules.checkpoint_metric is not None:
        return ", ".join(job.parts.valid)
    watched = f"{', '.join(job.parts.valid)} was only watched" if job.parts.valid else "there was no validation"
    return f"none: the last epoch is kept, {watched}"


def _filters(job: TrainingJob) -> dict[str, str]:
    if job.model != models.WITH_PARENTS:
        return {}
    parents = job.init_from
    whose = f"those in {parents.time_dir} and {parents.frequency_dir}" if parents else "trained first in its directory"
    return {"Filters": f"of a time and a frequency model, {whose}"}


def _augmentation(job: TrainingJob) -> dict[str, str]:
    settings = dataclasses.asdict(job.augmentation)
    changed = [f"{name} {value:g}" for name, value in settings.items() if value != getattr(Augmentation(), name)]
    return {"Augmentation": ", ".join(changed)} if changed else {}


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
