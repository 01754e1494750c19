"""How fast trainer.predict names the genre of files, against what people would write instead.

python -m benchmarks.predict [--clips=100] [--seconds=30] [--rounds=3] [--model=black_box] [--work_dir=DIR]

The peer is librosa.load, librosa.feature.melspectrogram and model.predict, file by file. Both use the same model,
trained for one epoch, and the same synthesised 16-bit WAV clips from a warm cache, in processes of their own, in turn.
A time begins after start-up: imports, the model, and a first file.
"""

import io
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from benchmarks import clips as clip_files
from benchmarks import processes
from tfrecords.common import command_line
from trainer import training_job

if TYPE_CHECKING:
    from trainer.serving.recognizer import Recognizer

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
        rounds.append({way: seconds_of(way, job_dir, clips) for way in WAYS})
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


def seconds_of(way: str, job_dir: Path, clips: Path) -> float:
    """Seconds that naming all clips takes in one of the ways, in a process of its own."""
    code = f"from benchmarks import predict; predict.print_seconds({way!r}, {str(job_dir)!r}, {str(clips)!r})"
    return float(processes.run_checked("-c", code).stdout)


def by_predict(recognizer: "Recognizer", job: training_job.TrainingJob, files: Sequence[Path]) -> list[str]:
    """The lines that trainer.predict --json prints."""
    from trainer import predict
    from trainer.serving.files import InputFile

    with redirect_stdout(io.StringIO()) as printed:
        predict.predict(recognizer, [InputFile(str(path)) for path in files], as_json=True)
    return printed.getvalue().splitlines()


def by_librosa(recognizer: "Recognizer", job: training_job.TrainingJob, files: Sequence[Path]) -> list[str]:
    """The genre of each."""
    import librosa

    genres = []
    for path in files:
        waveform, rate = librosa.load(path, sr=22050)
        mel = librosa.feature.melspectrogram(y=waveform, sr=rate, n_fft=1024, hop_length=512, n_mels=40)
        log_mel = np.log10(1 + 10000 * mel).T
        count = len(log_mel) // job.patch_frames
        patches = log_mel[: count * job.patch_frames].reshape(count, job.patch_frames, -1)
        patches = (patches - job.statistics.mean) / job.statistics.scale
        probabilities = recognizer.model.predict(patches[..., np.newaxis].astype(np.float32), verbose=0)
        genres.append(job.labels[probabilities.mean(axis=0).argmax()])
    return genres


def print_seconds(way: str, job_dir: str, folder: str) -> None:
    """Names all files of a folder in one of the ways; prints the seconds it took, after one file to start up."""
    from trainer.serving.recognizer import Recognizer

    job, recognizer = training_job.TrainingJob.load(Path(job_dir)), Recognizer.load(Path(job_dir))
    files = sorted(Path(folder).rglob("*.wav"))
    answer = by_predict if way == "predict" else by_librosa
    answer(recognizer, job, files[:1])
    began = time.perf_counter()
    answers = answer(recognizer, job, files)
    seconds = time.perf_counter() - began
    if len(answers) != len(files):
        raise ValueError(f"there are {len(files)} files, got {len(answers)} answers")
    print(seconds)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
