"""Plants copies among audio and counts how many of them `python -m beam_preprocess.audit` finds.

python -m tools.planted_copies [--audio=DIR] [--copies=120] [--seed=0] [--tracks=120] [--seconds=30]

Into a temporary directory go the audio (a folder with a folder a genre, by default synthetic), and copies of some of
its tracks: a fifth of them byte for byte, and the others at a gain of 0.3 to 1, from a start of 0 to 5 s, half of them
resampled to 44.1 kHz, as MP3 or Ogg Vorbis at several qualities, or as M4A. The audit runs on all. It prints the share
of the copies that it pairs with their originals, by kind, and a pair of each two originals that it takes for one
recording: such that the audio held before, or mistakes. Exit status 1 if an exact copy or more than 5 % of the others
are missed.
"""

import json
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from absl import flags

from beam_preprocess import synthesize
from beam_preprocess.audio import EXTENSIONS
from benchmarks import processes
from tfrecords.common import command_line, shutdown
from tfrecords.common.terminal import align_columns
from tools import encode

EXACT = "exact"
CODECS = ("MP3", "OGG", "M4A")
# Shares of exact copies, and of the others, that have to be found.
_WANTED = {True: 1.0, False: 0.95}
_EXACT_EVERY = 5
_GAIN, _MAX_START_S, _RATE_HZ = (0.3, 1.0), 5.0, 44100
# As libsndfile counts: 0 is the best, 1 the smallest file.
_COMPRESSIONS = (0.0, 0.5, 0.9)

FLAGS = flags.FlagValues()
flags.DEFINE_string("audio", None, "folder of audio, a folder a genre; by default synthetic", flag_values=FLAGS)
flags.DEFINE_integer("copies", 120, "copies to plant", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the copies", flag_values=FLAGS)
flags.DEFINE_integer("tracks", 120, "synthetic tracks, a multiple of 10", lower_bound=10, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a synthetic track", lower_bound=10.0, flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Plants copies, runs the audit, and counts; returns the exit status."""
    command_line.no_arguments(positional)
    with tempfile.TemporaryDirectory() as temporary, shutdown.cleanup_on_signal(lambda: shutil.rmtree(temporary)):
        folder = Path(temporary) / "audio"
        if flag_values.audio:
            shutil.copytree(flag_values.audio, folder)
        else:
            per_genre = flag_values.tracks // len(synthesize.GENRES)
            synthesize.synthesize_dataset(folder, tracks_per_genre=per_genre, seconds=flag_values.seconds)
        planted = plant(folder, copies=flag_values.copies, seed=flag_values.seed)
        output = Path(temporary) / "audit"
        audit = ("-m", "beam_preprocess.audit", f"--input={folder}", f"--output={output}", "--folds=2", "--pictures=0")
        finished = processes.run(*audit)
        if not (output / "audit.json").is_file():
            raise command_line.UserError(f"the audit failed: {finished.stderr.strip()[-1000:]}")
        audited = json.loads((output / "audit.json").read_text("utf-8"))
    found, others = recall(audited, planted)
    print(table(found, planted))
    for pair in others:
        print("also reported: {first} = {second}, {error_rate:.1%} of the bits differ".format(**pair))
    return int(missed(found, planted))


def plant(folder: Path, *, copies: int, seed: int) -> dict[str, tuple[str, str]]:
    """Writes copies of some tracks beside them.

    Args:
      folder: of audio; what is below it in a folder is copied.
      copies: how many; at most as many as there are tracks.
      seed: of which tracks, and how they are changed.

    Returns:
      copy -> its original and its kind, as paths below the folder.
    """
    rng = np.random.default_rng(seed)
    paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in EXTENSIONS)
    planted = {}
    for number, index in enumerate(rng.permutation(len(paths))[:copies]):
        original = paths[index]
        if number % _EXACT_EVERY == 0:
            copy, kind = original.with_name(f"copy {original.name}"), EXACT
            shutil.copyfile(original, copy)
        else:
            codec = CODECS[number % len(CODECS)]
            copy, kind = original.with_name(f"copy {original.stem}.{codec.lower()}"), codec
            write_changed(original, copy, codec, rng)
        planted[str(copy.relative_to(folder))] = (str(original.relative_to(folder)), kind)
    return planted


def write_changed(
    original: Path, copy: Path, codec: str, rng: np.random.Generator, *, max_start_s: float = _MAX_START_S
) -> None:
    """Writes a track at a random gain, from a random start, half of the time at another rate, and as another codec.

    Args:
      original: the track.
      copy: the file to write.
      codec: one of CODECS.
      rng: of what is random.
      max_start_s: the latest start, in seconds.
    """
    samples, rate = soundfile.read(original, dtype="float32")
    samples = samples[int(rng.uniform(0.0, max_start_s) * rate) :] * np.float32(rng.uniform(*_GAIN))
    if rng.random() < 0.5:
        samples, rate = soxr.resample(samples, rate, _RATE_HZ), _RATE_HZ
    compression = float(rng.choice(_COMPRESSIONS))
    if codec == "M4A":
        encode.write(copy, samples.reshape(len(samples), -1), rate, encode.M4A)
    else:
        soundfile.write(copy, samples, rate, format=codec, compression_level=compression)


def recall(audit: Mapping[str, Any], planted: Mapping[str, tuple[str, str]]) -> tuple[set[str], list[dict[str, Any]]]:
    """What an audit makes of planted copies.

    Returns:
      The copies that are paired with their originals, exact ones as identical; and a pair of each two originals that
      are reported as one recording, themselves or by copies.
    """
    found: set[str] = set()
    others: dict[frozenset[str], dict[str, Any]] = {}
    for pair in (pair for item in audit["duplicates"] for pair in item["pairs"]):
        names = (pair["first"], pair["second"])
        originals = frozenset(planted.get(name, (name, ""))[0] for name in names)
        copies = [name for name in names if name in planted]
        if len(originals) > 1:
            others.setdefault(originals, pair)
        elif len(copies) == 1 and (planted[copies[0]][1] != EXACT or pair["identical"]):
            found.add(copies[0])
    return found, list(others.values())


def table(found: set[str], planted: Mapping[str, tuple[str, str]]) -> str:
    """Copies planted and found, by kind."""
    there, caught = Counter(kind for _, kind in planted.values()), Counter(planted[name][1] for name in found)
    rows = [[kind, str(there[kind]), str(caught[kind]), f"{caught[kind] / there[kind]:.1%}"] for kind in sorted(there)]
    return align_columns([["copies", "planted", "found", "share"], *rows])


def missed(found: set[str], planted: Mapping[str, tuple[str, str]]) -> bool:
    """Whether too many were."""
    for exact, wanted in _WANTED.items():
        names = [name for name, (_, kind) in planted.items() if (kind == EXACT) == exact]
        if sum(name in found for name in names) < math.ceil(wanted * len(names)):
            return True
    return False


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
