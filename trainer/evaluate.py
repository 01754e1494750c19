"""Score a trained model on tracks that training never saw.

python -m trainer.evaluate --job_dir=JOB [--data_dir=OTHER --parts=all] [--output_dir=DIR] [--audio_dir=DIR]

With --job_dir alone: the job's own test part, written to the job's directory. Writes metrics.json and report.html, a
page that needs no network.
"""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfrecords import shard_cache
from tfrecords.augmentation import Augmentation
from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import Manifest
from trainer import job_store, models, training_job
from trainer.distribution.precision import FLOAT32
from trainer.evaluation.summary import Summary, score
from trainer.reports import tables
from trainer.reports.formatting import patch
from trainer.reports.page import AudioLinks
from trainer.training import schedules
from trainer.training.resume import tell_unfinished
from trainer.training_job import TrainingJob

if TYPE_CHECKING:
    import keras

_SAMPLES = 10

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of the training job", flag_values=FLAGS)
flags.DEFINE_string("data_dir", None, "another dataset; by default the one it was trained on", flag_values=FLAGS)
flags.DEFINE_list("parts", None, "which parts, or all; by default the test part", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "where to write; the job's directory for its own test part", flag_values=FLAGS)
flags.DEFINE_string(
    "audio_dir",
    None,
    "directory of the tracks' audio, for links; by default where preprocessing found it",
    flag_values=FLAGS,
)
shard_cache.define_flags(FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Evaluate, print a table and write metrics.json and report.html."""
    command_line.no_arguments(positional)
    shard_cache.use_flags(flag_values)
    if not flag_values.job_dir:
        raise UserError("--job_dir=JOB is needed (see --help)")
    if (flag_values.data_dir or flag_values.parts) and not flag_values.output_dir:
        raise UserError(
            "--data_dir and --parts need --output_dir=DIR; the job's directory is for the score of its own test part"
        )
    with contextlib.ExitStack() as stack:
        apart = bool(flag_values.output_dir)
        job_dir = stack.enter_context(job_store.opened(flag_values.job_dir, locks=not apart))
        output_dir = stack.enter_context(job_store.opened(flag_values.output_dir, locks=True)) if apart else job_dir
        summary = evaluate(
            job_dir,
            output_dir,
            data_dir=flag_values.data_dir,
            parts=flag_values.parts,
            audio_dir=flag_values.audio_dir,
        )
        report = job_store.shown(output_dir / training_job.REPORT_FILE)
    print(tables.evaluation(summary))
    for warning in summary.warnings().values():
        print(f"warning: {warning}")
    print(f"\nreport: {report}")


def evaluate(
    job_dir: Path,
    output_dir: Path,
    *,
    data_dir: str | None = None,
    parts: Sequence[str] | None = None,
    audio_dir: str | None = None,
) -> Summary:
    """Score a trained job, and write metrics.json and report.html.

    Args:
      job_dir: the directory of the job.
      output_dir: where to write.
      data_dir: another dataset; by default the one that the job was trained on.
      parts: which parts, or "all"; by default the job's test part.
      audio_dir: where the tracks' audio lies, for links; by default where preprocessing read it.

    Raises:
      UserError: no trained job, no dataset, or one that does not fit the model; output_dir cannot be written, or
        another process writes there; audio_dir is no folder.
    """
    job = TrainingJob.load(job_dir)
    tell_unfinished(job, job_dir)
    data_dir = data_dir or job.data_dir
    manifest = Manifest.load(data_dir)
    _check_fits(job, manifest, data_dir)
    parts = _choose_parts(job, manifest, parts)
    audio_link = AudioLinks(data_dir, audio_dir)
    training_job.make_dir(output_dir, "output_dir")
    with training_job.lock_job_dir(output_dir, leftovers_after_s=3600):
        command_line.import_tensorflow()
        from trainer.evaluation.predictions import load_model

        model = load_model(job_dir)
        summary = score(job, model, manifest, data_dir, parts)
        # Metrics last: where they are, the report is there too.
        page = _page(job, job_dir, model, summary, manifest, audio_link)
        files.write_text(output_dir / training_job.REPORT_FILE, page)
        files.write_text(output_dir / training_job.METRICS_FILE, json.dumps(summary.to_json(), indent=1) + "\n")
    return summary


def _page(
    job: TrainingJob,
    job_dir: Path,
    model: "keras.Model",
    summary: Summary,
    manifest: Manifest,
    audio_link: AudioLinks,
) -> str:
    from tfrecords.show import samples
    from trainer.reports import evaluation
    from trainer.reports.filter_plots import filter_figures

    history = training_job.read_history(job_dir)
    data_dir, parts = summary.data_dir, summary.parts
    return evaluation.render(
        summary,
        facts=_facts(job, manifest, summary),
        history=history,
        best_epoch=job.rules.best_epoch(schedules.rows_of(history)) if job.rules.checkpoint_metric else 0,
        samples=samples(Dataset(data_dir, manifest), parts=parts, count=_SAMPLES),
        filters=filter_figures(job, model, data_dir, parts),
        audio_link=audio_link,
    )


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
        "other tracks; say which `parts` to score, or train again"
    )


def _facts(job: TrainingJob, manifest: Manifest, summary: Summary) -> dict[str, str]:
    training_dataset = {}
    if manifest.fingerprint != job.fingerprint:
        training_dataset = {"Training dataset": f"{job.data_dir}, fingerprint {job.fingerprint}"}
    return {
        "Model": ", ".join([job.model, *(f"{name} {size}" for name, size in job.model_options.items())]),
        **_filters(job),
        "Scored on": ", ".join(summary.parts),
        **summary.warnings(),
        "Dataset": summary.data_dir,
        "Dataset fingerprint": manifest.fingerprint,
        **training_dataset,
        "Trained on": ", ".join(job.parts.train),
        "Epoch chosen on": _describe_choice(job),
        "Normalised by": "mean and variance per band of the training parts",
        "Patch": patch(job.patch_frames, job.patch_mode, manifest.frames_per_s),
        "Front end": ", ".join(f"{name} {value}" for name, value in job.front_end.items()),
        "Training": job.described,
        **_augmentation(job),
        **({"Precision": job.precision} if job.precision != FLOAT32 else {}),
        "Seed": str(job.seed),
        "Versions": ", ".join(f"{name} {version}" for name, version in job.versions.items()),
    }


def _describe_choice(job: TrainingJob) -> str:
    if job.rules.checkpoint_metric is not None:
        return ", ".join(job.parts.valid)
    watched = f"{', '.join(job.parts.valid)} was only watched" if job.parts.valid else "there was no validation"
    return f"none: the last epoch is kept, {watched}"


def _filters(job: TrainingJob) -> dict[str, str]:
    if job.model != models.WITH_PARENTS:
        return {}
    parents = job.init_from
    origin = f"those in {parents.time_dir} and {parents.frequency_dir}" if parents else "trained first in its directory"
    return {"Filters": f"of a time and a frequency model, {origin}"}


def _augmentation(job: TrainingJob) -> dict[str, str]:
    settings = dataclasses.asdict(job.augmentation)
    changed = [f"{name} {value:g}" for name, value in settings.items() if value != getattr(Augmentation(), name)]
    return {"Augmentation": ", ".join(changed)} if changed else {}


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
