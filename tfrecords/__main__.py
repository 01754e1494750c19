"""Looks at a dataset of sharded TFRecords.

python -m tfrecords info DIR                   what it holds: parts, labels, shards, configuration
python -m tfrecords verify DIR                 every size, checksum, count and record; status 1 when one is wrong
python -m tfrecords show DIR --png=grid.png    a picture of spectrograms with their labels
python -m tfrecords show DIR --augment=frequency_masks=2,mixup_alpha=0.4
                                               a picture of patches, each beside what training would make of it
"""

import dataclasses
from pathlib import Path
from typing import Any

from absl import flags

from tfrecords import show, verify
from tfrecords.augmentation import Augmentation
from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from tfrecords.info import describe
from tfrecords.manifest import Manifest
from tfrecords.plots import spectrogram_grid

# Each a panel; each a row of panels.
_TRACKS, _AUGMENTED_TRACKS = 20, 6

FLAGS = flags.FlagValues()
flags.DEFINE_string("png", "grid.png", "show: the picture to write", flag_values=FLAGS)
flags.DEFINE_list("parts", ["all"], "show: which parts to draw from", flag_values=FLAGS)
flags.DEFINE_integer(
    "tracks", None, "show: how many tracks to draw; 20, or 6 with --augment", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_string(
    "augment",
    "",
    "show: draw patches beside what this augmentation makes of them; name=value,name=value of "
    + ", ".join(field.name for field in dataclasses.fields(Augmentation)),
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Runs one of info, verify, show; returns the exit status."""
    commands = {"info": _info, "verify": _verify, "show": _show}
    if len(positional) != 2 or positional[0] not in commands:
        raise UserError(f"expected {', '.join(commands)} and a directory, got {positional or 'nothing'} (see --help)")
    command, data_dir = positional
    return commands[command](Manifest.load(data_dir), Path(data_dir), flag_values)


def _info(manifest: Manifest, data_dir: Path, flag_values: flags.FlagValues) -> int:
    print(describe(manifest))
    return 0


def _verify(manifest: Manifest, data_dir: Path, flag_values: flags.FlagValues) -> int:
    found = 0
    for problem in verify.problems(manifest, data_dir):
        print(problem)
        found += 1
    if found:
        print(f"{found} problem{'s' * (found > 1)}; write the dataset again")
        return 1
    records = sum(part.records for part in manifest.parts.values())
    shards = sum(len(part.shards) for part in manifest.parts.values())
    print(f"{data_dir}: {records} records in {shards} shards are as the manifest says")
    return 0


def _show(manifest: Manifest, data_dir: Path, flag_values: flags.FlagValues) -> int:
    parts, what = flag_values.parts, "spectrograms"
    drawn: dict[str, Any] = {}
    if flag_values.augment:
        augmentation = Augmentation.parse(flag_values.augment)
        count = flag_values.tracks or _AUGMENTED_TRACKS
        items = show.augmented_samples(manifest, data_dir, parts=parts, count=count, augmentation=augmentation)
        what = "patches and versions of them"
        drawn = {"columns": 1 + show.VERSIONS, "unit": "normalised value"}
    else:
        items = show.samples(manifest, data_dir, parts=parts, count=flag_values.tracks or _TRACKS)
    if not items:
        raise UserError(f"{data_dir}: no tracks in {', '.join(parts)}, so nothing to show")
    with files.atomic_write(Path(flag_values.png)) as temporary:
        temporary.write_bytes(spectrogram_grid(items, **drawn))
    print(f"wrote {len(items)} {what} to {flag_values.png}")
    return 0


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
