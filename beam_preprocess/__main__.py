"""Turns labelled audio into sharded TFRecords of log-mel spectrograms, as an Apache Beam job.

python -m beam_preprocess --input=DIR|GLOB|tracks.csv|music.tar.gz --output=OUT [flags] [any flag of Beam]

A file's label is the name of its folder. A CSV has the columns path (relative to the CSV), genre and optionally artist
or group. An archive is read like the folder that it unpacks to. Files that are not audio are counted by kind. GTZAN is
recognized by its file names: tracks of one artist stay in one part, and so do the pieces of one recording. Input and
output may be on any file system that Beam supports.

The output is a dataset once it holds manifest.json. Inputs that cannot be used are listed in rejects.jsonl. To resume
an interrupted job, run the same command again.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from absl import flags

from beam_preprocess.audio import front_end
from beam_preprocess.audio.formats import COMMON_FORMATS
from beam_preprocess.audio.front_end import PRESETS, FrontEndConfig
from beam_preprocess.config import JobConfig, SplitConfig, default_name
from beam_preprocess.gtzan import facts
from tfrecords import storage
from tfrecords.common import command_line
from tfrecords.common.terminal import no_warnings

_PACKAGE = Path(__file__).parent
FLAGS = flags.FlagValues()
# Fields of JobConfig with a flag of the same name, which the audit has too.
SHARED_FIELDS = (
    "label_folder",
    "merge_labels",
    "label_column",
    "group_column",
    "groups",
    "min_frames",
    "max_duration_s",
    "max_archive_bytes",
)


def _define_flags() -> None:
    boolean, integer, number, string = (
        functools.partial(define, flag_values=FLAGS)
        for define in (flags.DEFINE_bool, flags.DEFINE_integer, flags.DEFINE_float, flags.DEFINE_string)
    )
    string("input", "", f"folder, glob, .csv, .tar or .tar.gz of {COMMON_FORMATS}")
    string("output", "", "directory of the dataset")
    string("name", None, "name of the dataset; by default the name of the input's folder")
    string("preset", "cbmi2016", f"settings of the spectrogram: {', '.join(PRESETS)}")
    integer("sample_rate", None, "Hz; this and the next seven flags override the preset")
    integer("frame_length", None, "length of a frame, in samples")
    integer("hop_length", None, "samples from one frame to the next")
    string("window", None, f"one of {', '.join(front_end.WINDOWS)}")
    integer("n_mels", None, "number of mel bands")
    number("fmin_hz", None, "lower edge of the lowest band, in Hz")
    number("fmax_hz", None, "upper edge of the highest band, in Hz")
    string("compression", None, "log10: log10(1 + 10000 x); db: 10 log10(max(x, 1e-10))")
    string("record_dtype", "float16", "type of the records' values: float16 or float32")
    integer("folds", None, "number of equal parts, fold_0 ..., to split the tracks into; by default 10, or 5 for GTZAN")
    number("train_size", None, "instead of folds: share of train, between 0 and 1; the rest is valid and test")
    number("valid_size", None, "with --train_size: share of valid; by default half of what train leaves")
    string(
        "split_lists",
        None,
        "instead of folds: folder or glob of lists of paths, train.txt, valid.txt and test.txt; or one of the "
        f"published lists {', '.join(facts.SPLITS)}, which come with this package (./NAME is a folder of that name)",
    )
    boolean(
        "split_folders",
        False,
        "instead of folds: the first folder below the input is the part: train, valid, test, or fold_0, fold_1 ...; "
        "the folders below it are the labels",
    )
    integer("seed", 0, "another seed assigns groups of equal size to other parts")
    string("label_folder", "parent", "folder that names the label: parent (of the file) or top (first below the input)")
    boolean(
        "merge_labels", False, "treat labels that differ only in case, spaces or Unicode's compatibility forms as one"
    )
    string("label_column", None, "column of a .csv with the labels; by default genre")
    string(
        "group_column", None, "column of a .csv with the groups, which are never split; by default group, else artist"
    )
    string(
        "groups",
        "auto",
        "which tracks stay in one part: auto (groups of the .csv; or GTZAN's artists, recognized by its file names; or "
        "the pieces of a recording, such as song_part1.mp3), gtzan, or none",
    )
    integer("num_shards", None, "number of files over all parts; by default it depends on the number of tracks")
    integer("min_frames", 80, "reject clips with fewer frames (80: one patch of the paper)")
    number("max_duration_s", 6 * 3600.0, "reject audio of more seconds (21600: 6 hours)")
    number("max_reject_fraction", 0.1, "fail if a larger share of the tracks cannot be used, 0 to 1")
    integer("max_archive_bytes", 50 * 10**9, "refuse an archive that unpacks to more bytes (50 GB)")
    boolean("overwrite", False, "start over if the output holds a dataset")


_define_flags()


def main(flag_values: flags.FlagValues, beam_args: list[str]) -> None:
    """Run the job that the flags describe."""
    if beam_args and not beam_args[0].startswith("-") and not flag_values.input:
        raise command_line.no_such_command(beam_args[0], _PACKAGE)
    config = make_config(flag_values)
    # Imported here so that --help and errors in flags do not wait for Beam, which also warns of unused parts.
    with no_warnings():
        from beam_preprocess import job
    job.run(config, beam_args=beam_args, own_flags=list(flag_values), overwrite=flag_values.overwrite)


def make_config(flag_values: flags.FlagValues) -> JobConfig:
    """Return the configuration that the flags describe.

    Raises:
      UserError: a value is out of range.
    """
    if flag_values.preset not in PRESETS:
        raise command_line.UserError(f"--preset must be one of {', '.join(PRESETS)}, got {flag_values.preset!r}")
    preset = PRESETS[flag_values.preset]
    changes = {
        field.name: getattr(flag_values, field.name)
        for field in dataclasses.fields(FrontEndConfig)
        if getattr(flag_values, field.name) is not None
    }
    if "sample_rate" in changes and "fmax_hz" not in changes:
        changes["fmax_hz"] = min(preset.fmax_hz, changes["sample_rate"] / 2)
    return shared_config(
        flag_values,
        name=flag_values.name,
        front_end=dataclasses.replace(preset, **changes),
        record_dtype=flag_values.record_dtype,
        num_shards=flag_values.num_shards,
        max_reject_fraction=flag_values.max_reject_fraction,
    )


def shared_config(flag_values: flags.FlagValues, *, name: str | None = None, **fields: Any) -> JobConfig:
    """Return a configuration from the flags that the audit has too: those of the input and of the split.

    Args:
      flag_values: the flags.
      name: of the dataset; by default the name of the input's folder.
      fields: other fields of JobConfig.

    Raises:
      UserError: --input or --output is missing, or a value is out of range.
    """
    if not flag_values.input or not flag_values.output:
        raise command_line.UserError(
            "--input=DIR|GLOB|tracks.csv|music.tar.gz and --output=DIR are needed (see --help)"
        )
    if flag_values.folds is not None and (
        flag_values.train_size is not None or flag_values.split_lists or flag_values.split_folders
    ):
        raise command_line.UserError("--folds excludes --train_size, --split_lists and --split_folders")
    split = SplitConfig(**{field.name: getattr(flag_values, field.name) for field in dataclasses.fields(SplitConfig)})
    return JobConfig(
        source=storage.plain(flag_values.input),
        output=storage.plain(flag_values.output).rstrip("/") or flag_values.output,
        name=default_name(flag_values.input) if name is None else name,
        split=split,
        **{field: getattr(flag_values, field) for field in SHARED_FIELDS},
        **fields,
    )


if __name__ == "__main__":
    others = command_line.list_commands(_PACKAGE)
    command_line.run(main, FLAGS, usage=f"{__doc__}\nOther commands:\n\n{others}", pass_through=True)
