"""How long the preprocessing job takes, against what people would use instead.

The peers: a plain librosa loop that writes float_list Examples, and the usual Beam job (a spectrogram an element,
Reshuffle, WriteToTFRecord, a process per core).

python -m benchmarks.preprocess [--clips=1000] [--seconds=30] [--rounds=3] [--work_dir=DIR]

All read the same synthesised 16-bit WAV clips from a warm cache, in processes of their own, in turn. A time is that
of the whole process, imports and all; the loop's is given without its imports too.
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

JOB = "beam_preprocess"

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
    rounds = [round_times(clips, work_dir) for _ in range(flag_values.rounds)]
    median = {name: statistics.median(times[name] for times in rounds) for name in rounds[0]}
    print(
        f"{per_genre * len(synthesize.GENRES)} clips of {flag_values.seconds:g} s on {os.cpu_count()} cores, "
        f"median of {flag_values.rounds} rounds"
    )
    for name, seconds in median.items():
        print(f"  {name:<32}{seconds:7.1f} s   job / this = {median[JOB] / seconds:.2f}")


def round_times(clips: Path, work_dir: Path) -> dict[str, float]:
    """Seconds of the job and of each peer, one after the other."""
    output = f"--output={work_dir / 'tfrecords'}"
    times = {JOB: run_timed("-m", "beam_preprocess", f"--input={clips}", output, "--overwrite")[0]}
    loop_file = str(work_dir / "loop.tfrecord")
    times["librosa loop"], printed = run_timed("-m", "benchmarks.librosa_loop", str(clips), loop_file)
    times["librosa loop without imports"] = float(printed)
    times["usual Beam job"], _ = run_timed("-m", "benchmarks.usual_beam_job", str(clips), str(work_dir / "usual"))
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in times.items()), flush=True)
    return times


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
