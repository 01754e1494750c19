"""Naming the genre of every file of a folder: as trainer.predict does it, or as most people would write it.

python -m benchmarks.predict_loop predict|librosa JOB DIR    prints the seconds it took, start-up left out

The peer is librosa.load, librosa.feature.melspectrogram and model.predict, one file after another, with the same model,
patches and normalisation. Both have answered for one file, and have everything imported, before the clock starts.
"""

import io
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from trainer.serving.recognizer import Recognizer
from trainer.training_job import TrainingJob


def by_predict(recognizer: Recognizer, job: TrainingJob, files: Sequence[Path]) -> list[str]:
    """The lines that trainer.predict --json prints."""
    from trainer import predict
    from trainer.serving.files import Named

    with redirect_stdout(io.StringIO()) as printed:
        predict.predict(recognizer, [Named(str(path)) for path in files], as_json=True)
    return printed.getvalue().splitlines()


def by_librosa(recognizer: Recognizer, job: TrainingJob, files: Sequence[Path]) -> list[str]:
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


def main() -> None:
    """Times one of the two."""
    way, job_dir, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    job, recognizer = TrainingJob.load(job_dir), Recognizer.load(job_dir)
    files = sorted(folder.rglob("*.wav"))
    answer = by_predict if way == "predict" else by_librosa
    answer(recognizer, job, files[:1])
    began = time.perf_counter()
    answers = answer(recognizer, job, files)
    seconds = time.perf_counter() - began
    if len(answers) != len(files):
        raise ValueError(f"there are {len(files)} files, got {len(answers)} answers")
    print(seconds)


if __name__ == "__main__":
    main()
