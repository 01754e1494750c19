"""Looks at a dataset of sharded TFRecords.

python -m tfrecords info DIR                   what it holds: parts, labels, shards, configuration
python -m tfrecords verify DIR                 every size, checksum, count and record; status 1 when one is wrong
python -m tfrecords show DIR --png=grid.png    a picture of spectrograms with their labels
"""

from pathlib import Path

from absl import flags

from tfrecords import command_line, show, verify
from tfrecords.command_line import UserError
from tfrecords.info import describe
from tfrecords.manifest import Manifest
from tfrecords.plots import spectrogram_grid

FLAGS = flags.FlagValues()
flags.DEFINE_string("png", "grid.png", "show: the picture to write", flag_values=FLAGS)
flags.DEFINE_list("parts", ["all"], "show: which parts to draw from", flag_values=FLAGS)
flags.DEFINE_integer("tracks", 20, "show: how many tracks to draw", lower_bound=1, flag_values=FLAGS)


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
    items = show.samples(manifest, data_dir, parts=flag_values.parts, count=flag_values.tracks)
    if not items:
        raise UserError(f"{data_dir}: no tracks in {', '.join(flag_values.parts)}, so nothing to show")
    try:
        Path(flag_values.png).write_bytes(spectrogram_grid(items))
    except OSError as error:
        raise UserError(f"--png={flag_values.png} cannot be written: {error.strerror}") from None
    print(f"wrote {len(items)} spectrograms to {flag_values.png}")
    return 0


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
