"""How well the tags of the musicnn model agree with those that its authors published for clips of GTZAN.

python -m benchmarks.musicnn_tags --features=DIR --audio=DIR

DIR of --features holds .npz files with X [rows, 50] and IDS [rows], such as "blues/blues.00029.au", the rows of a clip
in order of time (github.com/jordipons/sklearn-audio-transfer-learning). --audio is a folder of the clips, by genre. A
row is a patch of 187 frames; the next one begins 62 frames later. The published rows were made with another resampler,
and mel power was rounded to float16, so the two cannot be equal.
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from absl import flags
from numpy.lib.stride_tricks import sliding_window_view

from beam_preprocess import audio
from beam_preprocess.audio.front_end import PRESETS, FrontEnd
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError

HOP_FRAMES = 62
# Agreement that other resamplers and roundings leave.
MIN_CORRELATION, MAX_MEAN_DIFFERENCE = 0.98, 0.006
_MAX_DURATION_S = 600.0

FLAGS = flags.FlagValues()
flags.DEFINE_string("features", "", "folder of the published tags (.npz)", flag_values=FLAGS)
flags.DEFINE_string("audio", "", "folder of the clips, in a folder for each genre", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Print the agreement; the exit status is 1 where it is worse than the bounds."""
    command_line.no_arguments(positional)
    if not flag_values.features or not flag_values.audio:
        raise UserError("--features=DIR and --audio=DIR are needed (see --help)")
    published = read_published(Path(flag_values.features))
    clips = {
        name: path
        for path in sorted(Path(flag_values.audio).glob("*/*"))
        if (name := f"{path.parent.name}/{path.stem}") in published
    }
    if not clips:
        raise UserError(f"--audio={flag_values.audio} holds none of the clips in --features={flag_values.features}")
    from trainer.models import musicnn

    front_end, tagger = FrontEnd(PRESETS["musicnn"]), musicnn.tagger()
    own = [tagger.predict_on_batch(patches_of(path, front_end, musicnn.PATCH_FRAMES)) for path in clips.values()]
    pairs = [
        (found[: len(published[name])], published[name][: len(found)]) for name, found in zip(clips, own, strict=True)
    ]
    found, expected = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    correlation, difference = agreement(found, expected)
    print(
        f"{len(clips)} clips, {len(found)} patches: correlation {correlation:.4f} (at least {MIN_CORRELATION}), "
        f"mean difference {difference:.4f} (at most {MAX_MEAN_DIFFERENCE})"
    )
    missing = [name for name, (rows, _) in zip(clips, pairs, strict=True) if len(rows) < len(published[name])]
    if missing:
        print(f"fewer patches than published: {', '.join(missing)}", file=sys.stderr)
    return int(correlation < MIN_CORRELATION or difference > MAX_MEAN_DIFFERENCE)


def read_published(folder: Path) -> dict[str, np.ndarray]:
    """Return the published tags by clip, such as "blues/blues.00029" -> [rows, 50] float32.

    Raises:
      UserError: the folder holds none.
    """
    rows: dict[str, list[np.ndarray]] = defaultdict(list)
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            for name, row in zip(arrays["IDS"].tolist(), arrays["X"], strict=True):
                rows[name.rpartition(".")[0]].append(row)
    if not rows:
        raise UserError(f"--features={folder} holds no .npz files")
    return {name: np.stack(own) for name, own in rows.items()}


def patches_of(path: Path, front_end: FrontEnd, frames: int) -> np.ndarray:
    """Return a clip's patches, [patches, frames, mel_bands, 1] float32, HOP_FRAMES apart.

    Raises:
      UserError: the clip cannot be read.
    """
    config = front_end.config
    try:
        with path.open("rb") as file:
            waveform = audio.decode(
                file,
                sample_rate=config.sample_rate,
                min_samples=front_end.min_samples(frames),
                max_duration_s=_MAX_DURATION_S,
            )
    except audio.Reject as reject:
        raise UserError(f"{path}: {reject.detail}") from None
    patches = sliding_window_view(front_end(waveform), frames, axis=0)[::HOP_FRAMES]
    return np.moveaxis(patches, -1, 1)[..., np.newaxis]


def agreement(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Return the correlation over all values, and their mean absolute difference.

    Example:
      >>> agreement(np.array([[0.0, 0.5]]), np.array([[0.0, 1.0]]))
      (1.0, 0.25)
    """
    correlation = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
    return round(float(correlation), 6), round(float(np.abs(found - expected).mean()), 6)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
