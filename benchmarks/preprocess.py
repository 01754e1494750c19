"""How long the preprocessing job takes, against a plain librosa loop that writes float_list Examples.

python -m benchmarks.preprocess [--clips=1000] [--seconds=30] [--rounds=3] [--work_dir=DIR]

Both read the same synthesised 16-bit WAV clips from a warm cache, each in a process of its own, in turn. The job's
time is that of its whole process, imports and all. The loop's is given with its imports and without.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from beam_preprocess import synthesize
from tfrecords import command_line

FLAGS = flags.FlagValues()
flags.DEFINE_integer("clips", 1000, "clips to preprocess, a multiple of 10", lower_bound=10, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where clips and outputs are kept", flag_values=FLAGS)


def run_timed(*command: str) -> tuple[float, str]:
    """Seconds that a Python process takes from start to exit, and what it printed to standard output."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def warm(folder: Path) -> None:
    """Reads every file once, so that no round pays for the disk."""
    for path in folder.rglob("*.wav"):
        path.read_bytes()


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Makes the clips once, then times both in turn."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    clips = work_dir / f"clips_{flag_values.clips}_{flag_values.seconds:g}s"
    per_genre = flag_values.clips // len(synthesize.GENRES)
    synthesize.synthesize_dataset(clips, tracks_per_genre=per_genre, seconds=flag_values.seconds)
    warm(clips)
    loop_s, loop_process_s, job_s = [], [], []
    for index in range(flag_values.rounds):
        output = f"--output={work_dir / 'tfrecords'}"
        job_s.append(run_timed("-m", "beam_preprocess", f"--input={clips}", output, "--overwrite")[0])
        process_s, printed = run_timed("-m", "benchmarks.librosa_loop", str(clips), str(work_dir / "loop.tfrecord"))
        loop_process_s.append(process_s)
        loop_s.append(float(printed))
        print(f"round {index + 1}: job {job_s[-1]:.1f} s; loop {loop_s[-1]:.1f} s, with imports {process_s:.1f} s")
    job, loop, loop_process = (statistics.median(times) for times in (job_s, loop_s, loop_process_s))
    print(
        f"{per_genre * len(synthesize.GENRES)} clips of {flag_values.seconds:g} s on {os.cpu_count()} cores, "
        f"median of {flag_values.rounds}:\n"
        f"  whole job                 {job:7.1f} s\n"
        f"  librosa loop              {loop:7.1f} s  job / loop = {job / loop:.2f}\n"
        f"  librosa loop, whole       {loop_process:7.1f} s  job / loop = {job / loop_process:.2f}"
    )


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
