"""Checks that a trained model says the same of a file by every path: predict, the exported model, and shards.

python -m tools.skew --job_dir=JOB --audio=DIR [--files=4] [--seconds=30] --output=DIR

Recordings of --audio, spread over it, are written as WAV, FLAC, MP3, OGG, AU and M4A at 8, 22.05, 44.1 and 48 kHz, and
as Opus at 8 and 48 kHz, mono and stereo. Each of these files goes through trainer.predict's Recognizer (the page's
too), the exported model's waveform signature, wav_bytes where it is a WAV at the model's rate, the ONNX file by
onnxruntime, and through the preprocessing job's shards of float32 and of float16 as evaluation reads them. Printed are
the largest differences from predict, by format. A model that is sure of nothing could not tell: its highest probability
over the files must be above 0.6.

Exit status 1 if a difference is larger than its limit (LIMITS), 2 if something could not be run.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import soundfile
import soxr
from absl import flags

from beam_preprocess import audio
from tfrecords import schema
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tools import encode
from trainer.serving.recognizer import MAX_DURATION_S, front_end_config
from trainer.training_job import TrainingJob

if TYPE_CHECKING:
    from trainer.serving.recognizer import Recognizer

EXPORTED, WAV_BYTES, ONNX_PATH = "exported", "wav_bytes", "ONNX"
FLOAT32, FLOAT16 = "float32 shards", "float16 shards"
_NO_LOG_MEL = math.nan, 1e-4
# Compression -> path -> how far its log-mel and its probabilities may be from predict's. float16 rounds log10 values up
# to 8 by up to 0.002, decibels up to 128 by up to 0.032.
LIMITS = {
    compression: {EXPORTED: (1e-3, 1e-4), WAV_BYTES: _NO_LOG_MEL, ONNX_PATH: _NO_LOG_MEL, FLOAT32: whole, FLOAT16: half}
    for compression, whole, half in (
        ("log10", (1e-5, 1e-4), (0.002, 0.002)),
        ("db", (1e-3, 1e-4), (0.032, 0.002)),
    )
}
# Compression -> how far below a file's peak log-mel is compared: decibels further down differ by up to 0.02, which a
# test of GraphFrontEnd holds.
_DEPTHS = {"log10": math.inf, "db": 80.0}
SURE = 0.6
FORMATS = {
    kind.extension: kind
    for kind in (encode.WAV, encode.FLAC, encode.MP3, encode.VORBIS, encode.AU, encode.M4A, encode.OPUS)
}
RATES_HZ = (8000, 22050, 44100, 48000)
CHANNELS = (1, 2)
# Channels that differ show whether their mean is taken.
_SECOND_CHANNEL = 0.5
Limits = Mapping[str, tuple[float, float]]

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", None, "directory of the training job (required)", flag_values=FLAGS)
flags.DEFINE_string("audio", None, "folder of recordings (required)", flag_values=FLAGS)
flags.DEFINE_string("output", None, "directory to write to (required)", flag_values=FLAGS)
flags.DEFINE_integer("files", 4, "recordings to take", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "of each", lower_bound=1.0, flag_values=FLAGS)


class Skew(NamedTuple):
    """How far a path is from predict for one file: largest differences of log-mel and of probabilities."""

    format: str
    path: str
    log_mel: float
    probability: float


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Writes the files, sends them through every path, prints the table; returns the exit status."""
    command_line.no_arguments(positional)
    for name in ("job_dir", "audio", "output"):
        if not flag_values[name].value:
            raise UserError(f"--{name} is missing (see --help)")
    job_dir, output = Path(flag_values.job_dir), Path(flag_values.output)
    limits = LIMITS[front_end_config(TrainingJob.load(job_dir)).compression]
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output={output} must be an empty directory, or not be there yet; name another one")
    files = transcode(Path(flag_values.audio), output / "audio", files=flag_values.files, seconds=flag_values.seconds)
    skews, sure = measure(job_dir, output, files)
    print(table(skews, limits))
    broken = exceeded(skews, limits)
    for line in broken:
        print(line)
    print(f"{len(files)} files; the model's highest probability is {sure:.3f}, to be above {SURE}")
    return 1 if broken or sure <= SURE else 0


def transcode(audio_dir: Path, folder: Path, *, files: int, seconds: float) -> list[Path]:
    """Recordings spread over a folder, each in every format.

    Raises:
      UserError: there are none.
    """
    from trainer.serving.files import list_inputs

    found = [Path(file.path) for file in list_inputs([str(audio_dir)]) if file.reject is None]
    if not found:
        raise UserError(f"--audio={audio_dir}: no audio in this folder")
    step = max(1, len(found) // files)
    chosen = found[step // 2 :: step][:files]
    return [
        path
        for number, source in enumerate(chosen)
        for path in write_transcodes(source, folder, seconds=seconds, number=number)
    ]


def write_transcodes(
    source: Path, folder: Path, *, seconds: float, rates_hz: tuple[int, ...] = RATES_HZ, number: int = 0
) -> list[Path]:
    """Writes a recording's beginning as folder/FORMAT/NUMBER-RATE-CHANNELS.FORMAT, for each of them that there is.

    Args:
      source: any audio file.
      folder: where to.
      seconds: of it that are written.
      rates_hz: of the files; Opus has not every rate.
      number: keeps recordings apart.

    Returns:
      The files, by format.
    """
    with soundfile.SoundFile(source) as sound:
        samples = sound.read(round(seconds * sound.samplerate), dtype="float32", always_2d=True).mean(axis=1)
        at = {rate: soxr.resample(samples, sound.samplerate, rate) for rate in rates_hz}
    # Lossy codecs overshoot; what is clipped differs between decoders.
    peak = max(float(np.abs(waveform).max()) for waveform in at.values())
    written = []
    for extension, kind in FORMATS.items():
        (folder / extension).mkdir(parents=True, exist_ok=True)
        for rate, waveform in at.items():
            if not encode.has_rate(kind, rate):
                continue
            mono = waveform * min(1.0, 0.7 / max(peak, 1e-9))
            for channels in CHANNELS:
                path = folder / extension / f"{number}-{rate}-{channels}.{extension}"
                both = np.stack([mono, _SECOND_CHANNEL * mono], axis=1)
                encode.write(path, both[:, :channels], rate, kind)
                written.append(path)
    return written


def measure(job_dir: Path, output: Path, files: Sequence[Path]) -> tuple[list[Skew], float]:
    """Every file by every path.

    Args:
      job_dir: of the trained job.
      output: of the files, below `audio`, and of all that is made.
      files: written by `write_transcodes`.

    Returns:
      The differences from predict, and the highest probability that predict gave.
    """
    command_line.import_tensorflow()
    import onnxruntime
    import tensorflow as tf

    from trainer.serving.export_dir import ONNX, ONNX_FILE, export
    from trainer.serving.recognizer import Recognizer

    job, recognizer = TrainingJob.load(job_dir), Recognizer.load(job_dir)
    export(job_dir, output / "export")
    # Kept: the functions of a loaded model end with it.
    exported = tf.saved_model.load(output / "export")
    export(job_dir, output / "onnx", file_format=ONNX)
    session = onnxruntime.InferenceSession(output / "onnx" / ONNX_FILE)
    shards = {
        name: by_shards(job, recognizer, _preprocess(job, output, dtype))
        for name, dtype in ((FLOAT32, "float32"), (FLOAT16, "float16"))
    }
    config = recognizer.front_end.config
    wav_rate, depth = f"-{config.sample_rate}-", _DEPTHS[config.compression]
    skews, sure = [], 0.0
    for path in files:
        answer = by_predict(recognizer, path)
        sure = max(sure, float(answer.probabilities.max()))
        waveform = decode(recognizer, path)
        others = {
            EXPORTED: by_export(exported.signatures, waveform),
            ONNX_PATH: by_onnx(session, waveform, config.sample_rate),
        }
        if path.suffix == ".wav" and wav_rate in path.name:
            others[WAV_BYTES] = by_wav_bytes(exported.signatures, path)
        track_id = path.relative_to(output / "audio").as_posix()
        others |= {name: tracks[track_id] for name, tracks in shards.items()}
        for name, other in others.items():
            skews.append(Skew(path.suffix[1:], name, *other.differences(answer, depth=depth)))
    return skews, sure


class Answer(NamedTuple):
    """What one path makes of a file.

    Attributes:
      probabilities: [labels] float32.
      log_mel: [frames, mel_bands] float32, as the path has it; None where it does not show it.
    """

    probabilities: np.ndarray
    log_mel: np.ndarray | None = None

    def differences(self, other: "Answer", *, depth: float = np.inf) -> tuple[float, float]:
        """The largest of the log-mel, and the largest of the probabilities; NaN where there is nothing to compare.

        Args:
          other: what this is compared with.
          depth: log-mel values further below the other's highest are not compared.
        """
        log_mel = float("nan")
        if self.log_mel is not None and other.log_mel is not None:
            near = other.log_mel >= other.log_mel.max() - depth
            log_mel = float(np.abs(self.log_mel - other.log_mel)[near].max())
        return log_mel, float(np.abs(self.probabilities - other.probabilities).max())


def by_predict(recognizer: "Recognizer", path: Path) -> Answer:
    """As trainer.predict and the page do it."""
    with path.open("rb") as file:
        recognition = recognizer.recognize(file)
    return Answer(recognition.probabilities, recognition.log_mel)


def decode(recognizer: "Recognizer", path: Path) -> np.ndarray:
    """The waveform that the decoder makes at the model's rate, [samples] float32."""
    rate = recognizer.front_end.config.sample_rate
    with path.open("rb") as file:
        return audio.decode(file, sample_rate=rate, min_samples=1, max_duration_s=MAX_DURATION_S)


def by_export(signatures: Any, waveform: np.ndarray) -> Answer:
    """The exported model, given a waveform at the model's rate."""
    import tensorflow as tf

    answer = signatures["serving_default"](waveform=tf.constant(waveform))
    log_mel = signatures["log_mel"](waveform=tf.constant(waveform))
    return Answer(answer["probabilities"].numpy(), log_mel["log_mel"].numpy())


def by_onnx(session: Any, waveform: np.ndarray, sample_rate: int) -> Answer:
    """The ONNX file in onnxruntime, given a waveform at the model's rate."""
    inputs = {"waveform": waveform[np.newaxis], "sample_rate": np.array(sample_rate, np.int64)}
    return Answer(session.run(["probabilities"], inputs)[0][0])


def by_wav_bytes(signatures: Any, path: Path) -> Answer:
    """The exported model, given a WAV file at its rate as it is."""
    import tensorflow as tf

    answer = signatures["wav_bytes"](wav_bytes=tf.constant(path.read_bytes()))
    return Answer(answer["probabilities"].numpy())


def by_shards(job: TrainingJob, recognizer: "Recognizer", data_dir: Path) -> dict[str, Answer]:
    """As evaluation does it: each track of a dataset, by its id."""
    dataset = Dataset(data_dir)
    pieces: dict[str, list[np.ndarray]] = {}
    for part in dataset.manifest.parts:
        for record in dataset.records(part):
            pieces.setdefault(record.track_id, []).append(record.log_mel.astype(np.float32))
    probabilities: dict[str, list[np.ndarray]] = {}
    batches = dataset.batches(patch_frames=job.patch_frames, patch_mode=job.evaluation_mode, statistics=job.statistics)
    for patches, _, track_ids in batches.as_numpy_iterator():
        for track_id, row in zip(track_ids, recognizer.model.predict_on_batch(patches), strict=True):
            probabilities.setdefault(schema.to_text(track_id), []).append(np.asarray(row))
    return {
        track_id: Answer(np.mean(rows, axis=0), np.concatenate(pieces[track_id]))
        for track_id, rows in probabilities.items()
    }


def _preprocess(job: TrainingJob, output: Path, dtype: str) -> Path:
    from beam_preprocess import job as preprocessing
    from beam_preprocess.config import JobConfig, SplitConfig

    data_dir = output / dtype
    preprocessing.run(
        JobConfig(
            source=str(output / "audio"),
            output=str(data_dir),
            name="skew",
            front_end=front_end_config(job),
            record_dtype=dtype,
            split=SplitConfig(folds=2),
            min_frames=job.min_frames,
        )
    )
    return data_dir


def largest(skews: Sequence[Skew]) -> Mapping[tuple[str, str], Skew]:
    """(format, path) -> the largest differences of its files."""
    found: dict[tuple[str, str], Skew] = {}
    for skew in skews:
        before = found.get((skew.format, skew.path), skew)
        found[skew.format, skew.path] = Skew(
            skew.format,
            skew.path,
            max(before.log_mel, skew.log_mel),
            max(before.probability, skew.probability),
        )
    return found


def exceeded(skews: Sequence[Skew], limits: Limits) -> list[str]:
    """A line for each format and path that is further from predict than its limit. NaN probabilities are."""

    def lines() -> Iterator[str]:
        for skew in largest(skews).values():
            for what, value, limit in zip(("log-mel", "probability"), skew[2:], limits[skew.path], strict=True):
                if not math.isnan(limit) and not value <= limit:
                    yield f"{skew.format}, {skew.path}: {what} differs by {value:.2g}, at most {limit:g} is allowed"

    return list(lines())


def table(skews: Sequence[Skew], limits: Limits) -> str:
    """Rows of formats, columns of paths: log-mel / probability."""
    found = largest(skews)
    lines = [
        f"log-mel / probability: largest differences from predict, {', '.join(map(str, RATES_HZ))} Hz, mono and stereo",
        "",
        f"| format | {' | '.join(limits)} |",
        "| --- |" + " --- |" * len(limits),
    ]
    for name in FORMATS:
        cells = [found.get((name, path)) for path in limits]
        texts = ["" if cell is None else f"{cell.log_mel:.1e} / {cell.probability:.1e}" for cell in cells]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    allowed = " | ".join(f"{log_mel:g} / {probability:g}" for log_mel, probability in limits.values())
    return "\n".join([*lines, f"| limit | {allowed} |"]).replace("nan / ", "- / ")


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
