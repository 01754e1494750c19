"""Inspect a dataset of sharded TFRecords.

python -m tfrecords info DIR                   parts, labels, shards, configuration
python -m tfrecords verify DIR                 check every size, checksum, count and record; status 1 if one is wrong
python -m tfrecords show DIR --png=grid.png    draw spectrograms with their labels
python -m tfrecords show DIR --augment=frequency_masks=2,mixup_alpha=0.4
                                               draw patches, each beside what training would make of it
"""

import dataclasses

from absl import flags

from tfrecords import shard_cache, show, storage
from tfrecords.augmentation import Augmentation
from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.plots import spectrogram_grid

# Tracks to draw by default: a panel each, or a row of panels each.
_TRACKS, _AUGMENTED_TRACKS = 20, 6

FLAGS = flags.FlagValues()
flags.DEFINE_string("png", "grid.png", "show: the picture to write", flag_values=FLAGS)
flags.DEFINE_list("parts", ["all"], "show: the parts to draw from", flag_values=FLAGS)
flags.DEFINE_integer(
    "tracks", None, "show: how many tracks to draw; 20, or 6 with --augment", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_string(
    "augment",
    "",
    "show: draw patches beside augmented versions of them; name=value,name=value of "
    + ", ".join(field.name for field in dataclasses.fields(Augmentation)),
    flag_values=FLAGS,
)
shard_cache.define_flags(FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Run info, verify or show, and return the exit status."""
    commands = {"info": _info, "verify": _verify, "show": _show}
    if len(positional) != 2 or positional[0] not in commands:
        raise UserError(f"expected {', '.join(commands)} and a directory, got {positional or 'nothing'} (see --help)")
    shard_cache.use_flags(flag_values)
    command, data_dir = positional
    return commands[command](Dataset(data_dir), flag_values)


def _info(dataset: Dataset, flag_values: flags.FlagValues) -> int:
    print(dataset.info())
    return 0


def _verify(dataset: Dataset, flag_values: flags.FlagValues) -> int:
    count = 0
    for problem in dataset.verify():
        print(problem)
        count += 1
    if count:
        print(f"{count} problem{'s' * (count > 1)}; write the dataset again")
        return 1
    parts = dataset.manifest.parts.values()
    records, shards = sum(part.records for part in parts), sum(len(part.shards) for part in parts)
    print(f"{dataset.location}: {records} records in {shards} shards are as the manifest says")
    return 0


def _show(dataset: Dataset, flag_values: flags.FlagValues) -> int:
    parts = flag_values.parts
    if flag_values.augment:
        augmentation = Augmentation.parse(flag_values.augment)
        count = flag_values.tracks or _AUGMENTED_TRACKS
        items = show.augmented_samples(dataset, parts=parts, count=count, augmentation=augmentation)
    else:
        items = show.samples(dataset, parts=parts, count=flag_values.tracks or _TRACKS)
    if not items:
        raise UserError(f"{dataset.location}: no tracks in {', '.join(parts)}, so nothing to show")
    if flag_values.augment:
        what, picture = "patches", spectrogram_grid(items, columns=1 + show.VERSIONS, unit="normalised value")
    else:
        what, picture = "spectrograms", spectrogram_grid(items)
    _write_picture(flag_values.png, picture)
    print(f"wrote {len(items)} {what} to {flag_values.png}")
    return 0


def _write_picture(location: str, picture: bytes) -> None:
    try:
        path = storage.local_path(location)
        if path is None:
            storage.write(location, picture)
            return
    except OSError as error:
        raise UserError(f"{location} cannot be written: {error.strerror}") from None
    with files.atomic_write(path) as temporary:
        temporary.write_bytes(picture)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
