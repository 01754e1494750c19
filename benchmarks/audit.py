"""How long an audit takes, against preprocessing the same clips.

python -m benchmarks.audit [--clips=1000] [--seconds=30] [--rounds=3] [--work_dir=DIR]

Both read the same synthesised 16-bit WAV clips from a warm cache, in processes of their own, in turn. A time is that
of the whole process, imports and all; the processors' time, which other work on the machine disturbs less, is given
too.
"""

import os
import statistics
from pathlib import Path

from absl import flags

from benchmarks import clips as clip_files
from benchmarks import processes
from tfrecords.common import command_line

JOB, AUDIT = "beam_preprocess", "beam_preprocess.audit"

FLAGS = flags.FlagValues()
flags.DEFINE_integer("clips", 1000, "clips, a multiple of 10", lower_bound=10, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where clips and outputs are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Makes the clips once, then times both in turn."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    clips = clip_files.make_clips(work_dir, clips=flag_values.clips, seconds=flag_values.seconds)
    rounds = [round_times(clips, work_dir) for _ in range(flag_values.rounds)]
    print(
        f"{sum(1 for _ in clips.glob('*/*.wav'))} clips of {flag_values.seconds:g} s on {os.cpu_count()} cores, "
        f"median of {flag_values.rounds} rounds"
    )
    for number, what in enumerate(("time", "processors' time")):
        job, audit = (statistics.median(times[name][number] for times in rounds) for name in (JOB, AUDIT))
        print(f"  {what:<18}job {job:6.1f} s   audit {audit:6.1f} s   audit / job = {audit / job:.2f}")


def round_times(clips: Path, work_dir: Path) -> dict[str, tuple[float, float]]:
    """Seconds, and the processors' seconds, of the job and of the audit, one after the other."""
    commands = {
        JOB: ("-m", JOB, f"--input={clips}", f"--output={work_dir / 'tfrecords'}", "--overwrite"),
        AUDIT: ("-m", AUDIT, f"--input={clips}", f"--output={work_dir / 'audit'}"),
    }
    times = {}
    for name, command in commands.items():
        finished = processes.run_checked(*command)
        times[name] = (finished.seconds, finished.processor_s)
    print(", ".join(f"{name} {seconds:.1f} s ({own:.1f} s)" for name, (seconds, own) in times.items()), flush=True)
    return times


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
