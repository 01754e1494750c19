"""How long naming a whole collection takes, against preprocessing it and running the bare model on the records.

python -m benchmarks.beam_predict [--clips=200] [--seconds=30] [--rounds=3] [--model=black_box] [--work_dir=DIR]

Both jobs run on the local runner with a worker per core, on the same synthesised 16-bit WAV clips from a warm cache, in
processes of their own, in turn. The bare model is Keras' predict_on_batch over patches of the clips' records, which are
in memory, 256 at a time, after a first batch. Each job also runs on 20 of the clips: what the others take beyond that
is compared, start-up apart; then the whole times. The same of processor time, which other work on the machine disturbs
less.
"""

import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from beam_preprocess import synthesize
from benchmarks import clips as clip_files
from benchmarks import predict, processes
from tfrecords.common import command_line

_FEW_PER_GENRE = 2
_FEW = _FEW_PER_GENRE * len(synthesize.GENRES)
_BATCH = 256

FLAGS = flags.FlagValues()
flags.DEFINE_integer("clips", 200, "clips to name, a multiple of 10", lower_bound=30, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("model", "black_box", "which model", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where clips, models and outputs are kept", flag_values=FLAGS)


class Times(NamedTuple):
    """Seconds of a command, and the processors' seconds."""

    wall_s: float
    processor_s: float


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Makes clips and model once, then times the jobs and the bare model in turn."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    folder = clip_files.make_clips(work_dir, clips=flag_values.clips, seconds=flag_values.seconds)
    few = clip_files.link_clips(folder, work_dir / f"{folder.name}_{_FEW}", times=1, per_genre=_FEW_PER_GENRE)
    job_dir = predict.make_job(work_dir, folder, model=flag_values.model)
    rounds = []
    for _ in range(flag_values.rounds):
        rounds.append(round_times(work_dir, job_dir, folder, few))
        print(", ".join(f"{name} {times.wall_s:.2f} s" for name, times in rounds[-1].items()), flush=True)
    median = {
        name: Times(*map(statistics.median, zip(*(times[name] for times in rounds), strict=True))) for name in rounds[0]
    }
    files = sum(1 for _ in folder.rglob("*.wav"))
    print(
        f"{files} clips of {flag_values.seconds:g} s, {flag_values.model}, on {os.cpu_count()} cores, "
        f"median of {flag_values.rounds} rounds"
    )
    for field in Times._fields:
        print(f"\n{field}\n{report({name: getattr(times, field) for name, times in median.items()}, files)}")


def round_times(work_dir: Path, job_dir: Path, folder: Path, few: Path) -> dict[str, Times]:
    """Times of each job on all clips and on a few, and of the bare model on the records of all."""
    times = {}
    records = work_dir / "beam_predict_records"
    for name, clips in (("all", folder), ("few", few)):
        output = records if clips == folder else work_dir / "beam_predict_few"
        command = ["-m", "beam_preprocess", f"--input={clips}", f"--output={output}", "--overwrite", "--folds=3"]
        times[f"preprocess {name}"] = _run(*command)
        command = ["-m", "beam_predict", f"--input={clips}", f"--output={work_dir / 'predictions'}", "--overwrite"]
        times[f"beam_predict {name}"] = _run(*command, f"--model_dir={job_dir}")
    code = f"from benchmarks import beam_predict; beam_predict.print_seconds({str(job_dir)!r}, {str(records)!r})"
    times["model"] = Times(*map(float, processes.run_checked("-c", code).stdout.split()))
    return times


def _run(*command: str) -> Times:
    finished = processes.run_checked(*command)
    return Times(finished.seconds, finished.processor_s)


def report(times: Mapping[str, float], files: int) -> str:
    """Two lines: the ratio of what clips take beyond a few, and that of the whole times.

    Args:
      times: seconds by the names of `round_times`.
      files: number of all clips.

    >>> times = {"preprocess all": 5, "preprocess few": 3, "beam_predict all": 10, "beam_predict few": 7, "model": 2}
    >>> print(report(times, 40))
    start-up apart: beam_predict 3.00 s, preprocessing 2.00 s + model 1.00 s   ratio = 1.00
    in all:         beam_predict 10.00 s, preprocessing 5.00 s + model 2.00 s   ratio = 1.43
    """
    job, prepared = (times[f"{name} all"] - times[f"{name} few"] for name in ("beam_predict", "preprocess"))
    model = times["model"] * (files - _FEW) / files
    lines = []
    for what, own, first, second in (
        ("start-up apart:", job, prepared, model),
        ("in all:", times["beam_predict all"], times["preprocess all"], times["model"]),
    ):
        parts = f"beam_predict {own:.2f} s, preprocessing {first:.2f} s + model {second:.2f} s"
        lines.append(f"{what:<15} {parts}   ratio = {own / (first + second):.2f}")
    return "\n".join(lines)


def print_seconds(job_dir: str, data_dir: str) -> None:
    """Runs the bare model over all patches of a dataset's records; prints the times it took after a first batch."""
    from tfrecords import Dataset
    from trainer.serving.recognizer import Recognizer, patch_spans

    recognizer, data = Recognizer.load(Path(job_dir)), Dataset(data_dir)
    patches = [
        record.log_mel[first : first + length].astype(np.float32)
        for part in data.manifest.parts
        for record in data.records(part)
        for first, length in patch_spans(len(record.log_mel), recognizer.patch_frames, resizes=False)
    ]
    batches = [np.stack(patches[first : first + _BATCH])[..., None] for first in range(0, len(patches), _BATCH)]
    for size in {len(batch) for batch in batches}:
        recognizer.predict_patches(np.zeros((size, *batches[0].shape[1:]), np.float32))
    began, processor_began = time.perf_counter(), time.process_time()
    for batch in batches:
        recognizer.predict_patches(batch)
    print(time.perf_counter() - began, time.process_time() - processor_began)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
