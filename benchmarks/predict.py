"""How fast trainer.predict names the genre of files, against what people would write instead.

python -m benchmarks.predict [--clips=100] [--seconds=30] [--rounds=3] [--model=black_box] [--work_dir=DIR]

The peer is librosa.load, librosa.feature.melspectrogram and model.predict, file by file. Both use the same model,
trained for one epoch, and the same synthesised 16-bit WAV clips from a warm cache, in processes of their own, in turn.
A time begins after start-up: imports, the model, and a first file.
"""

import os
import statistics
from pathlib import Path

from absl import flags

from benchmarks import clips as clip_files
from benchmarks import processes
from tfrecords import command_line
from trainer import training_job

WAYS = {"predict": "trainer.predict", "librosa": "librosa + model.predict, file by file"}

FLAGS = flags.FlagValues()
flags.DEFINE_integer("clips", 100, "clips to name, a multiple of 10", lower_bound=30, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("model", "black_box", "which model", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where clips and models are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Makes clips and model once, then times both in turn."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    clips = clip_files.make_clips(work_dir, clips=flag_values.clips, seconds=flag_values.seconds)
    job_dir = make_job(work_dir, clips, model=flag_values.model)
    rounds = []
    for _ in range(flag_values.rounds):
        loop = ("-m", "benchmarks.predict_loop")
        rounds.append({way: float(processes.run_checked(*loop, way, str(job_dir), str(clips)).stdout) for way in WAYS})
        print(", ".join(f"{WAYS[way]} {seconds:.2f} s" for way, seconds in rounds[-1].items()), flush=True)
    median = {way: statistics.median(times[way] for times in rounds) for way in WAYS}
    files = sum(1 for _ in clips.rglob("*.wav"))
    print(
        f"{files} clips of {flag_values.seconds:g} s, {flag_values.model}, on {os.cpu_count()} cores, "
        f"median of {flag_values.rounds} rounds, after start-up"
    )
    for way, seconds in median.items():
        speed, share = files * flag_values.seconds / seconds, median["predict"] / seconds
        print(f"  {WAYS[way]:<42}{seconds:7.2f} s{speed:8.0f} times real time   predict / this = {share:.2f}")


def make_job(work_dir: Path, clips: Path, *, model: str) -> Path:
    """The directory of a job trained on the clips for one epoch; kept for the next time."""
    data_dir, job_dir = work_dir / f"predict_{clips.name}", work_dir / f"predict_{clips.name}_{model}"
    if not (job_dir / training_job.CHECKPOINT_FILE).is_file():
        processes.run_checked("-m", "beam_preprocess", f"--input={clips}", f"--output={data_dir}", "--folds=3")
        training = ("--epochs=1", f"--model={model}", "--overwrite")
        processes.run_checked("-m", "trainer.train", f"--data_dir={data_dir}", f"--job_dir={job_dir}", *training)
    return job_dir


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
