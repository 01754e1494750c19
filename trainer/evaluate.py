"""Scores a trained model on tracks that training never saw.

python -m trainer.evaluate --job_dir=JOB [--data_dir=OTHER --parts=all] [--output_dir=DIR]

Without flags: the job's own test part. Writes metrics.json and report.html, a page that needs no network.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from tfrecords import command_line
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest
from trainer import training_job
from trainer.training_job import TrainingJob

METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
_SAMPLES = 10

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of the training job", flag_values=FLAGS)
flags.DEFINE_string("data_dir", None, "another dataset; by default the one it was trained on", flag_values=FLAGS)
flags.DEFINE_list("parts", None, "which parts, or all; by default the test part", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "where to write; by default the job's directory", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Evaluates, prints a table, writes two files."""
    command_line.no_arguments(positional)
    if not flag_values.job_dir:
        raise UserError("--job_dir=JOB is needed (see --help)")
    job_dir = Path(flag_values.job_dir)
    output_dir = Path(flag_values.output_dir or job_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output_dir={output_dir} cannot be made: {error.strerror}") from None
    summary = evaluate(job_dir, output_dir, data_dir=flag_values.data_dir, parts=flag_values.parts)
    from trainer.report import text_table

    print(text_table(summary))
    if summary["seen_in_training"]:
        print("warning: these parts were trained or validated on; this is no score for new music")
    print(f"\nreport: {output_dir / REPORT_FILE}")


def evaluate(
    job_dir: Path, output_dir: Path, *, data_dir: str | None = None, parts: Sequence[str] | None = None
) -> dict[str, Any]:
    """Writes metrics.json and report.html, and returns what metrics.json holds.

    Raises:
      UserError: no trained job, no dataset, or one that does not fit the model.
    """
    job = TrainingJob.load(job_dir)
    manifest = Manifest.load(data_dir or job.data_dir)
    data_dir = data_dir or job.data_dir
    _check_fits(job, manifest, data_dir)
    same = manifest.fingerprint == job.fingerprint
    chosen = _choose_parts(job, manifest, same, parts)

    command_line.import_tensorflow()
    from tfrecords.show import samples
    from trainer.metrics import summarize
    from trainer.predictions import load_model, predict
    from trainer.report import write_report

    summary = summarize(predict(job, load_model(job_dir), data_dir, chosen))
    seen = same and bool(set(chosen) & {*job.parts.train, *job.parts.valid})
    summary |= {"data_dir": data_dir, "parts": chosen, "model": job.model, "seed": job.seed, "seen_in_training": seen}
    training_job.write_text(output_dir / METRICS_FILE, json.dumps(summary, indent=1) + "\n")
    write_report(
        output_dir / REPORT_FILE,
        summary=summary,
        history=training_job.read_history(job_dir),
        samples=samples(manifest, data_dir, parts=chosen, count=_SAMPLES),
        facts=_facts(job, data_dir, chosen, seen),
    )
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


def _choose_parts(job: TrainingJob, manifest: Manifest, same: bool, parts: Sequence[str] | None) -> tuple[str, ...]:
    if parts:
        return manifest.select(parts)
    if same:
        return job.parts.test
    raise UserError(
        "the dataset is not the one that the model was trained on (or was written again since), so its parts may hold "
        "other tracks; say which to score with --parts, or train again"
    )


def _facts(job: TrainingJob, data_dir: str, parts: Sequence[str], seen: bool) -> dict[str, str]:
    warning = " (trained or validated on: no score for new music)" if seen else ""
    patch_s = job.patch_frames * job.front_end["hop_length"] / job.front_end["sample_rate"]
    return {
        "Model": job.model,
        "Scored on": f"{', '.join(parts)}{warning}",
        "Dataset": data_dir,
        "Dataset fingerprint": job.fingerprint,
        "Trained on": ", ".join(job.parts.train),
        "Epoch chosen on": ", ".join(job.parts.valid),
        "Normalised by": "mean and variance per band of the training parts",
        "Patch": f"{job.patch_frames} frames, {patch_s:.2f} s",
        "Front end": ", ".join(f"{name} {value}" for name, value in job.front_end.items()),
        "Training": f"Adam, learning rate {job.learning_rate:g}, batch {job.batch_size}, at most {job.epochs} epochs",
        "Seed": str(job.seed),
        "Versions": ", ".join(f"{name} {version}" for name, version in job.versions.items()),
    }


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
