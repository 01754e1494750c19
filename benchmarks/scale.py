"""What more audio costs the preprocessing job: time per further clip, and memory.

python -m benchmarks.scale [--clips=1000] [--times=4] [--rounds=3] [--long_hours=3] [--work_dir=DIR]

Time: a job on N clips and one on N x times differ by what the further clips cost, start and end left out. That is
given as a ratio to the bare loop, the least that it can take: decode, FFT and mel bands of every clip, no Beam and no
writing. It is measured in the same rounds, in turn; the medians of the rounds count.

Memory: the highest sum of the proportional set sizes of all the job's processes, in runs of their own, since watching
takes a core's time. Once N clips against N x times; once a few clips with one recording of hours among them against
the same few without it.

The N x times clips are the N clips, hard-linked under further names: the same bytes, decoded anew for each name. All
files are in the cache of files in either job, so the links change neither what is read nor from where. That the same
recording is there more than once the job notes in its manifest, which makes a further clip dearer rather than cheaper.
The difference of two times is only as good as the machine is quiet: take many clips, and let nothing else run.
"""

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile
import threadpoolctl
from absl import flags

from beam_preprocess import synthesize
from beam_preprocess.audio.front_end import PRESETS, FrontEnd
from benchmarks import clips as clip_files
from benchmarks import processes
from tfrecords.common import command_line

# Beside the long recording: enough for every worker to be busy.
_FEW_PER_GENRE = 2

FLAGS = flags.FlagValues()
flags.DEFINE_integer("clips", 1000, "clips of the smaller job, a multiple of 10", lower_bound=20, flag_values=FLAGS)
flags.DEFINE_integer("times", 4, "how many times more the larger job has", lower_bound=2, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float("long_hours", 3.0, "length of the long recording", lower_bound=0.1, flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where clips and outputs are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Makes the clips once, then measures time and memory."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    few = clip_files.make_clips(work_dir, clips=flag_values.clips, seconds=flag_values.seconds)
    many = work_dir / f"{few.name}_x{flag_values.times}"
    clip_files.link_clips(few, many, times=flag_values.times)
    number = sum(1 for _ in few.glob("*/*.wav"))
    sizes = f"{number} clips of {flag_values.seconds:g} s, and {flag_values.times} times as many"
    print(f"{sizes}, on {os.cpu_count()} cores", flush=True)
    rounds = [_round(few, many, work_dir / "scale") for _ in range(flag_values.rounds)]
    _tell_times(rounds, number=number, times=flag_values.times)
    _tell_memory(few, many, work_dir, long_hours=flag_values.long_hours)


def _job(source: Path, output: Path) -> list[str]:
    """The job's command line."""
    # Two folds, so that a set of a few clips can be dealt; a limit past any length, for the long recording.
    chosen = ["--overwrite", "--folds=2", "--max_duration_s=1000000"]
    return ["-m", "beam_preprocess", f"--input={source}", f"--output={output}", *chosen]


def _round(few: Path, many: Path, output: Path) -> tuple[float, float, float]:
    """Seconds of the small job, of the large one, and of the bare loop over the large one's clips."""
    small_s = processes.run_checked(*_job(few, output)).seconds
    large_s = processes.run_checked(*_job(many, output)).seconds
    code = f"from benchmarks import scale; scale.print_bare_s({str(many)!r})"
    bare_s = float(processes.run_checked("-c", code).stdout)
    print(f"job {small_s:.1f} s and {large_s:.1f} s, bare loop {bare_s:.1f} s", flush=True)
    return small_s, large_s, bare_s


def print_bare_s(folder: str) -> None:
    """Transforms all clips of a folder, and drops the spectrograms; prints the seconds that it took.

    By as many threads as there are cores, BLAS held to one thread each, as in the job.
    """
    paths = sorted(Path(folder).glob("*/*.wav"))
    front_end = FrontEnd(PRESETS["cbmi2016"])

    def frames(path: Path) -> int:
        waveform, _ = soundfile.read(path, dtype="float32")
        return len(front_end(waveform))

    with threadpoolctl.threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        began = time.perf_counter()
        sum(pool.map(frames, paths))
        print(time.perf_counter() - began)


def _tell_times(rounds: list[tuple[float, float, float]], *, number: int, times: int) -> None:
    further = [(large_s - small_s) / (number * (times - 1)) for small_s, large_s, _ in rounds]
    bare = [bare_s / (number * times) for _, _, bare_s in rounds]
    ratio = statistics.median(one / other for one, other in zip(further, bare, strict=True))
    further_ms, bare_ms = 1000 * statistics.median(further), 1000 * statistics.median(bare)
    print(f"median of {len(rounds)} rounds")
    print(f"  each further clip             {further_ms:7.2f} ms")
    print(f"  the bare loop, each clip      {bare_ms:7.2f} ms   further clip / bare = {ratio:.2f}")


def _tell_memory(few: Path, many: Path, work_dir: Path, *, long_hours: float) -> None:
    output = work_dir / "scale"
    small, large = _peak_mib(few, output), _peak_mib(many, output)
    print("peak memory of all the job's processes (PSS)")
    print(f"  the smaller job               {small:7.0f} MiB")
    print(f"  the larger job                {large:7.0f} MiB  larger / smaller = {large / small:.2f}")
    short = clip_files.link_clips(few, work_dir / f"{few.name}_few", times=1, per_genre=_FEW_PER_GENRE)
    mixed = clip_files.link_clips(few, work_dir / f"{few.name}_few_and_long", times=1, per_genre=_FEW_PER_GENRE)
    clip = min(mixed.glob("*/*.copy0.wav"))
    clip_files.tile(clip, clip.with_name("long.wav"), hours=long_hours)
    without, beside = _peak_mib(short, output), _peak_mib(mixed, output)
    names = f"{_FEW_PER_GENRE * len(synthesize.GENRES)} clips", f"and one of {long_hours:g} hours"
    print(f"  {names[0]:<28}  {without:7.0f} MiB")
    print(f"  {names[1]:<28}  {beside:7.0f} MiB  difference = {beside - without:+.0f} MiB")


def _peak_mib(source: Path, output: Path) -> float:
    return processes.run_checked(*_job(source, output), watch_memory=True).peak_bytes / processes.MIB


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
