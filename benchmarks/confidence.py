"""How honest a cross-validated model is: calibration, sets, "not sure" and "unlike the training music".

python -m benchmarks.confidence --job_dir=CV [--model=NAME] [--other_audio=DIR] [--json_dir=DIR]

Each track of the dataset is judged by the model that was trained without its fold, by what that training alone found
out (confidence.json). --other_audio is a folder of recordings in a folder for each kind, such as speech; with it,
noise, tones and silence are made as well. Every model of the first seed names them all, recordings whole and in pieces
of --piece_s. What is refused is silent, "not sure" or "unlike the training music".
"""

import io
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from absl import flags

from beam_preprocess import audio
from beam_preprocess.audio import Reject
from beam_preprocess.audio.formats import Selection, walk
from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from trainer.evaluation.cross_validation import Run, load_results
from trainer.reports.formatting import percent
from trainer.reports.tables import Table
from trainer.serving.recognizer import SILENT, DecodedTrack, Recognition, Recognizer

_RATE_HZ, _SECONDS = 22_050, 30
_LEVELS = (0.9, 0.1, 0.01)
_TONES_HZ = (110, 440, 1000, 3000)
_NAMES = {"data": "--data_dir=DATA", "job": "--job_dir=CV"}

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of a finished cross-validation", flag_values=FLAGS)
flags.DEFINE_string("model", None, "which of its models; by default the first", flag_values=FLAGS)
flags.DEFINE_string("other_audio", "", "folder of other recordings, in a folder for each kind", flag_values=FLAGS)
flags.DEFINE_float("piece_s", 10.0, "length of a piece, in seconds", lower_bound=1.0, flag_values=FLAGS)
flags.DEFINE_string(
    "json_dir", None, "folder for the figures, confidence.json and confidence_other.json", flag_values=FLAGS
)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Print what the cross-validation found, and how the models answer other sounds."""
    command_line.no_arguments(positional)
    if not flag_values.job_dir:
        raise UserError("--job_dir=CV is needed (see --help)")
    cv_dir = Path(flag_values.job_dir)
    results = load_results(cv_dir)
    model = flag_values.model or next(iter(results["models"]))
    if "scaled" not in (found := results["models"].get(model, {}).get("calibration", {})):
        raise UserError(f"{cv_dir}: {model} has no confidence there; cross-validate again, with this version")
    data = results["data"]
    title = f"{model} on {data['name']}, {data['tracks']} tracks of {data['groups']} artists, {data['folds']} folds"
    tables = {"confidence": (title, calibration_table(found))}
    if flag_values.other_audio:
        runs = [Run(model, results["seeds"][0], fold) for fold in range(data["folds"])]
        recognizers = [Recognizer.load(run.job_dir(cv_dir)) for run in runs]
        sounds = [*recordings(flag_values.other_audio, flag_values.piece_s), *made_sounds()]
        other = f"Answers of the {len(runs)} models to other sounds"
        tables["confidence_other"] = (other, other_table(answers_to(recognizers, sounds)))
    for title, table in tables.values():
        print(f"{title}\n\n{table.text()}\n")
    if flag_values.json_dir is not None:
        command = f"python -m benchmarks.confidence --job_dir=CV{' --other_audio=DIR' * bool(flag_values.other_audio)}"
        for name, (title, table) in tables.items():
            path = Path(flag_values.json_dir) / f"{name}.json"
            files.write_text(path, json.dumps(as_result(title, table, [results["command"], command]), indent=1) + "\n")


def as_result(title: str, table: Table, commands: list[str]) -> dict[str, Any]:
    """Return a table as the documentation's results are kept; directories have no place there."""
    plain = [re.sub(r"--(data|job)_dir=\S+", lambda found: _NAMES[found[1]], command) for command in commands]
    return {
        "title": title,
        "commands": plain,
        "measured": time.strftime("%-d %B %Y", time.gmtime()),
        "columns": list(table.columns),
        "rows": [list(row) for row in table.rows],
    }


def calibration_table(found: dict[str, Any]) -> Table:
    """Return how honest the answers are (`trainer.evaluation.reliability.assess`) as a table."""
    raw, scaled, sets, sure = (found[name] for name in ("raw", "scaled", "sets", "sure"))
    rows = [
        ("accuracy", percent(raw["accuracy"]), percent(scaled["accuracy"])),
        ("mean probability of the genre given", percent(raw["confidence"]), percent(scaled["confidence"])),
        ("expected calibration error, 15 ranges", *(f"{each['error']:.3f}" for each in (raw, scaled))),
        ("... of right probabilities, by chance", *(_chance(each) for each in (raw, scaled))),
        ("calibration error, corrected for chance", *(f"{each['corrected_error']:.3f}" for each in (raw, scaled))),
        (f"labels held by sets of {100 * sets['asked']:.0f} %, by artist", "", percent(sets["covered_by_group"])),
        ("... by track", "", percent(sets["covered"])),
        ("labels in a set", "", f"{sets['labels']:.2f}"),
        ("not sure", "", percent(1 - sure["share"])),
        ("wrong of the sure", "", percent(sure["error"])),
        ("unlike the training music", "", percent(found["unfamiliar"])),
        ("refused: not sure or unlike", "", percent(found["refused"])),
    ]
    return Table(("", "as the model gives them", "scaled"), rows)


def _chance(measured: dict[str, Any]) -> str:
    return f"{measured['error_by_chance']['mean']:.3f} (at most {measured['error_by_chance']['high']:.3f})"


def recordings(folder: str, piece_s: float) -> Iterator[tuple[str, bytes]]:
    """Yield the kind and the bytes of each recording in a folder of kinds, whole and as pieces.

    Raises:
      UserError: there is none.
    """
    paths = sorted(walk(folder, Selection(), lambda error: print(error, file=sys.stderr)))
    if not paths:
        raise UserError(f"--other_audio={folder}: no audio there")
    for path in map(Path, paths):
        yield path.parent.name, path.read_bytes()
        with path.open("rb") as file:
            blocks = audio.stream(file, sample_rate=_RATE_HZ, min_samples=1, max_duration_s=3600.0, name=path.name)
            samples = np.concatenate(list(blocks))
        length = round(piece_s * _RATE_HZ)
        for start in range(0, len(samples) - length + 1, length):
            yield f"{path.parent.name}, pieces of {piece_s:g} s", as_wav(samples[start : start + length])


def made_sounds() -> Iterator[tuple[str, bytes]]:
    """Yield the kind and the bytes of noise, tones and silence."""
    rng = np.random.default_rng(0)
    count = _RATE_HZ * _SECONDS
    seconds = np.arange(count) / _RATE_HZ
    for level in _LEVELS:
        for kind, power in (("white noise", 0.0), ("pink noise", 1.0), ("brown noise", 2.0)):
            spectrum = np.fft.rfft(rng.standard_normal(count))
            noise = np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))) ** (power / 2), count)
            yield kind, as_wav(level * noise / np.abs(noise).max())
        for hertz in _TONES_HZ:
            yield "one tone", as_wav(level * np.sin(2 * np.pi * hertz * seconds))
    yield "silence", as_wav(np.zeros(count))
    # The last bit or two of 16, as an empty recording has.
    yield "silence", as_wav(rng.standard_normal(count) * 3e-5)


def as_wav(samples: np.ndarray) -> bytes:
    """Return [samples], from -1 to 1, as a 16-bit WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples, _RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


def answers_to(recognizers: list[Recognizer], sounds: list[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """Return how models answer sounds.

    Args:
      recognizers: of one front end.
      sounds: kind and bytes of each.

    Returns:
      [{kind, sounds, silent, unfamiliar, not_sure, refused}]: shares over sounds and models.
    """
    kinds, tracks = [], []
    for kind, data in sounds:
        decoded = _decode(recognizers[0], data)
        if decoded is not None:
            kinds.append(kind)
            tracks.append(decoded)
    by_kind: dict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)
    for recognizer in recognizers:
        for kind, recognition in zip(kinds, recognizer.classify(tracks), strict=True):
            by_kind[kind].append(_outcome(recognition))
    return [
        {
            "kind": kind,
            "sounds": kinds.count(kind),
            **dict(zip(("silent", "unfamiliar", "not_sure"), np.mean(outcomes, axis=0).tolist(), strict=True)),
            "refused": float(np.any(outcomes, axis=1).mean()),
        }
        for kind, outcomes in by_kind.items()
    ]


def _decode(recognizer: Recognizer, data: bytes) -> DecodedTrack | None:
    try:
        return recognizer.decode(io.BytesIO(data))
    except Reject as reject:
        print(f"left out: {reject.reason}: {reject.detail}", file=sys.stderr)
        return None


def _outcome(recognition: Recognition) -> tuple[bool, bool, bool]:
    """Whether it is silent, unfamiliar, and not sure though familiar."""
    if recognition.note == SILENT or recognition.answer is None:
        return recognition.note == SILENT, False, False
    familiar = bool(recognition.answer.familiar)
    return False, not familiar, familiar and not recognition.answer.sure


def other_table(other: list[dict[str, Any]]) -> Table:
    """Return the answers to other sounds as a table."""
    columns = ("kind", "sounds", "silent", "unlike the training music", "not sure", "refused in all")
    shares = ("silent", "unfamiliar", "not_sure", "refused")
    return Table(
        columns, [(row["kind"], str(row["sounds"]), *(percent(row[share]) for share in shares)) for row in other]
    )


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
