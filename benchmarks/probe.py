"""How long the training of a probe takes, and how fast it names genres: the pretrained network of --model=musicnn.

python -m benchmarks.probe [--clips=1000] [--seconds=30] [--rounds=1] [--work_dir=DIR]

The clips are synthesised and preprocessed with --preset=musicnn before the clock starts; then trainer.train runs in a
process of its own, from start to exit, with nothing kept from an earlier training. Then 100 of the clips are named as
in benchmarks.predict, after start-up. Exit status 1 if the median of the trainings is above 60 s, for 1,000 clips of
30 s and in proportion for others, or the genres are named at less than 100 times real time.
"""

import os
import shutil
import statistics
import tempfile
from pathlib import Path

from absl import flags

from benchmarks import clips as clip_files
from benchmarks import predict, processes
from tfrecords.common import command_line, shutdown
from tfrecords.manifest import FILE_NAME

MAX_TRAINING_S, MIN_SPEED = 60.0, 100.0
_MEASURED = 1000 * 30.0
_NAMED = 100

FLAGS = flags.FlagValues()
flags.DEFINE_integer("clips", 1000, "clips, a multiple of 10", lower_bound=30, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=4.0, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 1, "trainings, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where clips and data are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Makes clips and data once, trains and names; returns the exit status."""
    command_line.no_arguments(positional)
    work_dir, count, seconds = Path(flag_values.work_dir), flag_values.clips, flag_values.seconds
    clips = clip_files.make_clips(work_dir, clips=count, seconds=seconds)
    data_dir = work_dir / f"musicnn_{clips.name}"
    if not (data_dir / FILE_NAME).is_file():
        preset = ("--preset=musicnn", "--folds=5")
        processes.run_checked("-m", "beam_preprocess", f"--input={clips}", f"--output={data_dir}", *preset)
    with tempfile.TemporaryDirectory() as temporary, shutdown.cleanup_on_signal(lambda: shutil.rmtree(temporary)):
        rounds = [train(data_dir, Path(temporary) / str(number)) for number in range(flag_values.rounds)]
        named = clip_files.make_clips(work_dir, clips=min(count, _NAMED), seconds=seconds)
        naming_s = predict.seconds_of("predict", Path(temporary) / "0" / "job", named)
    training_s = statistics.median(finished.seconds for finished in rounds)
    processor_s = statistics.median(finished.processor_s for finished in rounds)
    speed = sum(1 for _ in named.rglob("*.wav")) * seconds / naming_s
    print(
        f"{count:,} clips of {seconds:g} s on {os.cpu_count()} cores: the probe is trained in {training_s:.1f} s "
        f"(median of {len(rounds)}; {processor_s:.1f} s of processor time), and names genres at {speed:.0f} times "
        "real time"
    )
    return int(training_s > MAX_TRAINING_S * count * seconds / _MEASURED or speed < MIN_SPEED)


def train(data_dir: Path, directory: Path) -> processes.Finished:
    """Trains a probe in directory/job, with a cache of its own."""
    command = ("-m", "trainer.train", "--model=musicnn", f"--data_dir={data_dir}", f"--job_dir={directory / 'job'}")
    return processes.run_checked(*command, env=os.environ | {"XDG_CACHE_HOME": str(directory)})


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
