"""How long the preprocessing job takes, against what people would use instead.

python -m benchmarks.preprocess [--clips=1000] [--seconds=30] [--rounds=3] [--work_dir=DIR] [--mp3] [--before=TREE]

Of 16-bit WAV clips at the job's rate, the peers are a plain librosa loop that writes float_list Examples, and the usual
Beam job (a spectrogram an element, Reshuffle, WriteToTFRecord, a process per core). Of --mp3 clips (44.1 kHz, stereo,
128 kbit/s, by default 300) the peer is that loop in a pool of processes, one per core, and the job runs with one worker
and with two. --before=TREE adds the job of another checkout of this project.

All read the same synthesised clips from a warm cache, in processes of their own, in turn. A time is that of the whole
process, imports and all; processor time is that of all its processes, and other work on the machine disturbs it less.
Each also runs on 20 of the clips: what the others take beyond that is the time a clip, start-up apart.
"""

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

from beam_preprocess import synthesize
from benchmarks import clips as clip_files
from benchmarks import processes
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import align_columns

_FEW_PER_GENRE = 2
_FEW = _FEW_PER_GENRE * len(synthesize.GENRES)
_WAV_CLIPS, _MP3_CLIPS = 1000, 300
_MP3_WORKERS = (1, 2)

FLAGS = flags.FlagValues()
flags.DEFINE_integer(
    "clips",
    None,
    f"clips to preprocess, a multiple of 10 (default: {_WAV_CLIPS}, of MP3 {_MP3_CLIPS})",
    lower_bound=_FEW + len(synthesize.GENRES),
    flag_values=FLAGS,
)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where clips and outputs are kept", flag_values=FLAGS)
flags.DEFINE_boolean("mp3", False, "MP3 instead of WAV", flag_values=FLAGS)
flags.DEFINE_string("before", None, "another checkout of this project, to be compared with", flag_values=FLAGS)


class Command(NamedTuple):
    """A command that is timed.

    Attributes:
      arguments: the interpreter's, for a folder of clips.
      tree: the checkout that it is of; None: this one.
      after: the name of the command of this checkout that is to be compared with it.
    """

    arguments: Callable[[Path], Sequence[str]]
    tree: Path | None = None
    after: str | None = None


class Times(NamedTuple):
    """Seconds of a command on all clips and on a few, and the processors' seconds of both."""

    all_s: float
    few_s: float
    processor_all_s: float
    processor_few_s: float

    def clip_ms(self, clips: int) -> float:
        """Milliseconds that each clip takes beyond the few."""
        return 1000 * (self.all_s - self.few_s) / (clips - _FEW)

    def processor_clip_ms(self, clips: int) -> float:
        """Milliseconds of processors that each clip takes beyond the few."""
        return 1000 * (self.processor_all_s - self.processor_few_s) / (clips - _FEW)

    def startup_s(self, clips: int) -> float:
        """Seconds that go by whatever the number of clips."""
        return self.few_s - _FEW * self.clip_ms(clips) / 1000


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Makes the clips once, then times all commands in turn."""
    command_line.no_arguments(positional)
    before = flag_values.before and Path(flag_values.before).resolve()
    if before and not (before / "beam_preprocess").is_dir():
        raise UserError(f"--before={flag_values.before} is no checkout of this project")
    work_dir = Path(flag_values.work_dir)
    make, clips = (clip_files.make_mp3_clips, _MP3_CLIPS) if flag_values.mp3 else (clip_files.make_clips, _WAV_CLIPS)
    folder = make(work_dir, clips=flag_values.clips or clips, seconds=flag_values.seconds)
    few = clip_files.link_clips(folder, work_dir / f"{folder.name}_{_FEW}", times=1, per_genre=_FEW_PER_GENRE)
    commands = mp3_commands(work_dir, before) if flag_values.mp3 else wav_commands(work_dir, before)
    rounds = [round_times(commands, folder, few) for _ in range(flag_values.rounds)]
    median = {
        name: Times(*map(statistics.median, zip(*(one[name] for one in rounds), strict=True))) for name in commands
    }
    count = sum(1 for _ in folder.glob("*/*.*"))
    kind = "MP3" if flag_values.mp3 else "WAV"
    print(
        f"{count} {kind} clips of {flag_values.seconds:g} s on {os.cpu_count()} cores, median of "
        f"{flag_values.rounds} rounds"
    )
    print(report(median, commands, count))


def wav_commands(work_dir: Path, before: Path | None) -> dict[str, Command]:
    """Name -> what is timed on WAV; the first one is what the others are set against."""
    return {
        **_jobs("beam_preprocess", work_dir, before),
        "librosa loop": _peer("loop", work_dir / "loop.tfrecord"),
        "usual Beam job": _peer("beam", work_dir / "usual"),
    }


def mp3_commands(work_dir: Path, before: Path | None) -> dict[str, Command]:
    """Name -> what is timed on MP3; the first one is what the others are set against."""
    commands: dict[str, Command] = {}
    for workers in reversed(_MP3_WORKERS):
        name = f"beam_preprocess, {workers} worker{'s' * (workers > 1)}"
        commands |= _jobs(name, work_dir, before, f"--direct_num_workers={workers}")
    return commands | {"librosa pool": _peer("pool", work_dir / "pool.tfrecord")}


def _jobs(name: str, work_dir: Path, before: Path | None, *options: str) -> dict[str, Command]:
    """This checkout's job, and that of another one."""

    def job(output: str, clips: Path) -> list[str]:
        return ["-m", "beam_preprocess", f"--input={clips}", f"--output={work_dir / output}", "--overwrite", *options]

    jobs = {name: Command(lambda clips: job("tfrecords", clips))}
    if before:
        jobs[f"{name}, before"] = Command(lambda clips: job("tfrecords_before", clips), before, name)
    return jobs


def _peer(way: str, output: Path) -> Command:
    return Command(lambda clips: ["-m", "benchmarks.peers", way, str(clips), str(output)])


def round_times(commands: Mapping[str, Command], folder: Path, few: Path) -> dict[str, Times]:
    """The times of all commands, one after the other."""
    times = {}
    for name, command in commands.items():
        ends = [_run(command, clips) for clips in (folder, few)]
        times[name] = Times(*(end.seconds for end in ends), *(end.processor_s for end in ends))
    print(", ".join(f"{name} {one.all_s:.1f} s" for name, one in times.items()), flush=True)
    return times


def _run(command: Command, clips: Path) -> processes.Finished:
    if command.tree is None:
        return processes.run_checked(*command.arguments(clips))
    # -P: not from the working directory, which may be this checkout.
    return processes.run_checked("-P", *command.arguments(clips), env=os.environ | {"PYTHONPATH": str(command.tree)})


def report(median: Mapping[str, Times], commands: Mapping[str, Command], clips: int) -> str:
    """A row for each command, which the first one is compared with; and this checkout compared with another one."""
    job = next(iter(median.values()))
    rows = [["", "s", "processor s", "start-up s", "ms a clip", "processor ms a clip", "job / this", "by processor ms"]]
    for name, own in median.items():
        clip_ms, processor_clip_ms = own.clip_ms(clips), own.processor_clip_ms(clips)
        times = (own.all_s, own.processor_all_s, own.startup_s(clips), clip_ms, processor_clip_ms)
        ratios = (job.all_s / own.all_s, job.processor_clip_ms(clips) / processor_clip_ms)
        rows.append([name, *(f"{value:.1f}" for value in times), *(f"{value:.2f}" for value in ratios)])
    lines = [align_columns(rows)]
    for name, command in commands.items():
        if command.after is not None:
            after, before = median[command.after], median[name]
            lines.append(
                f"{command.after}: after / before = {after.all_s / before.all_s:.2f} by time, "
                f"{after.processor_clip_ms(clips) / before.processor_clip_ms(clips):.2f} by processor time a clip"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
