"""How long the preprocessing job takes, against what people would use instead.

The peers: a plain librosa loop that writes float_list Examples, and the usual Beam job (a spectrogram an element,
Reshuffle, WriteToTFRecord, a process per core).

python -m benchmarks.preprocess [--clips=1000] [--seconds=30] [--rounds=3] [--work_dir=DIR]

All read the same synthesised 16-bit WAV clips from a warm cache, in processes of their own, in turn. A time is that
of the whole process, imports and all; the loop's is given without its imports too.
"""

import os
import statistics
from pathlib import Path

from absl import flags

from benchmarks import clips as clip_files
from benchmarks import processes
from tfrecords import command_line

JOB = "beam_preprocess"

FLAGS = flags.FlagValues()
flags.DEFINE_integer("clips", 1000, "clips to preprocess, a multiple of 10", lower_bound=10, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where clips and outputs are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Makes the clips once, then times both in turn."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    clips = clip_files.make_clips(work_dir, clips=flag_values.clips, seconds=flag_values.seconds)
    rounds = [round_times(clips, work_dir) for _ in range(flag_values.rounds)]
    median = {name: statistics.median(times[name] for times in rounds) for name in rounds[0]}
    print(
        f"{sum(1 for _ in clips.glob('*/*.wav'))} clips of {flag_values.seconds:g} s on {os.cpu_count()} cores, "
        f"median of {flag_values.rounds} rounds"
    )
    for name, seconds in median.items():
        print(f"  {name:<32}{seconds:7.1f} s   job / this = {median[JOB] / seconds:.2f}")


def round_times(clips: Path, work_dir: Path) -> dict[str, float]:
    """Seconds of the job and of each peer, one after the other."""
    loop_file = str(work_dir / "loop.tfrecord")
    job = ("-m", "beam_preprocess", f"--input={clips}", f"--output={work_dir / 'tfrecords'}", "--overwrite")
    loop = processes.run_checked("-m", "benchmarks.librosa_loop", str(clips), loop_file)
    times = {
        JOB: processes.run_checked(*job).seconds,
        "librosa loop": loop.seconds,
        "librosa loop without imports": float(loop.stdout),
        "usual Beam job": processes.run_checked(
            "-m", "benchmarks.usual_beam_job", str(clips), str(work_dir / "usual")
        ).seconds,
    }
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in times.items()), flush=True)
    return times


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
