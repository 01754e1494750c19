"""Gives the preprocessing job very many tiny files, again and again: each has to come out, as a track or as a reject.

python -m tools.many_files [--unusable=100000] [--unusable_runs=50] [--good=20000] [--good_runs=20] [--workers=2]

The rejects of unusable files and the hashes of good ones are what a job passes from worker to worker, one by one. Where
an engine loses or damages such an element, some runs in a hundred end with fewer than went in. Prints a line a run;
exit status 1 if one failed, lost a file, or used more memory than --peak_mib.
"""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import soundfile
from absl import flags

from beam_preprocess.finish import METRICS_FILE
from benchmarks import processes
from tfrecords.common import command_line
from tfrecords.dataset import Dataset

_FOLDERS = 100
_RUN_LIMIT_S = 1800
_RATE_HZ, _SAMPLES = 8000, 2048

FLAGS = flags.FlagValues()
flags.DEFINE_integer("unusable", 100_000, "files that are no audio", lower_bound=_FOLDERS, flag_values=FLAGS)
flags.DEFINE_integer("unusable_runs", 50, "jobs on these", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_integer("good", 20_000, "files of a quarter of a second", lower_bound=_FOLDERS, flag_values=FLAGS)
flags.DEFINE_integer("good_runs", 20, "jobs on these", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_integer("workers", 2, "threads of the local runner", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float("peak_mib", 1024.0, "memory that a job may use at most (PSS)", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/many_files", "where files and outputs are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Makes the files, runs the jobs, and checks what came out of each; returns the exit status."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    kinds = (
        ("unusable", flag_values.unusable, flag_values.unusable_runs),
        ("good", flag_values.good, flag_values.good_runs),
    )
    failed = 0
    for kind, count, runs in kinds:
        folder = work_dir / f"{kind}_{count}"
        if runs:
            make_files(folder, count, good=kind == "good")
        for number in range(1, runs + 1):
            output = work_dir / "tfrecords"
            shutil.rmtree(output, ignore_errors=True)
            finished = processes.run(
                *("-m", "beam_preprocess", f"--input={folder}", f"--output={output}", "--folds=2"),
                *(f"--sample_rate={_RATE_HZ}", "--min_frames=1", "--max_reject_fraction=0.99999999"),
                f"--direct_num_workers={flag_values.workers}",
                timeout_s=_RUN_LIMIT_S,
                watch_memory=True,
            )
            problems = faults(finished, output, count, good=kind == "good", peak_mib=flag_values.peak_mib)
            failed += bool(problems)
            peak_mib = finished.peak_bytes / processes.MIB
            outcome = "; ".join(problems) or "all came out"
            print(
                f"{count} {kind} files, run {number}: {finished.seconds:.1f} s, {peak_mib:.0f} MiB, {outcome}",
                flush=True,
            )
    return 1 if failed else 0


def make_files(folder: Path, count: int, *, good: bool) -> None:
    """So many files in folders by label, each with another content, and one good one among those that are none."""
    if folder.exists():
        return
    made = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    for label in range(_FOLDERS):
        (made / f"label_{label:02d}").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        path = made / f"label_{number % _FOLDERS:02d}" / f"{number:06d}.wav"
        if good or not number:
            soundfile.write(path, rng.uniform(-0.5, 0.5, _SAMPLES), _RATE_HZ)
        else:
            path.write_bytes(struct.pack("<I", number))
    made.rename(folder)


def faults(finished: processes.Finished, output: Path, count: int, *, good: bool, peak_mib: float) -> list[str]:
    """What was wrong with a job."""
    if finished.timed_out or finished.status:
        return [f"exit status {finished.status}: {finished.stderr.strip()[-1000:]}"]
    problems = []
    dataset, metrics = Dataset(output), json.loads((output / METRICS_FILE).read_text("utf-8"))
    manifest = dataset.manifest
    tracks, rejects = sum(manifest.tracks(["all"]).values()), sum(manifest.rejects.values())
    if (tracks, rejects) != ((count, 0) if good else (1, count - 1)) or metrics["tracks"] != tracks:
        problems.append(f"{tracks} tracks and {rejects} rejects of {count} files")
    with (output / "rejects.jsonl").open("rb") as file:
        if (lines := sum(1 for _ in file)) != rejects:
            problems.append(f"{lines} lines in rejects.jsonl, not {rejects}")
    problems += list(dataset.verify())[:3]
    if finished.peak_bytes > peak_mib * processes.MIB:
        problems.append(f"more memory than {peak_mib:g} MiB")
    return problems


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
