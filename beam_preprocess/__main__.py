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
from typing import Any

from absl import flags

from beam_preprocess.audio import front_end
from beam_preprocess.audio.formats import COMMON_FORMATS
from beam_preprocess.audio.front_end import PRESETS, FrontEndConfig
from beam_preprocess.config import JobConfig, SplitConfig, default_name
from beam_preprocess.gtzan import facts
from tfrecords.common import command_line
from tfrecords.common.terminal import no_warnings

FLAGS = flags.FlagValues()


def _define_flags() -> None:
    values = {"flag_values": FLAGS}
    flags.DEFINE_string("input", "", f"folder, glob, .csv, .tar or .tar.gz of {COMMON_FORMATS}", **values)
    flags.DEFINE_string("output", "", "directory of the dataset", **values)
    flags.DEFINE_string("name", None, "name of the dataset; by default the name of the input's folder", **values)
    flags.DEFINE_string("preset", "cbmi2016", f"settings of the spectrogram: {', '.join(PRESETS)}", **values)
    flags.DEFINE_integer("sample_rate", None, "Hz; this and the next seven flags override the preset", **values)
    flags.DEFINE_integer("frame_length", None, "length of a frame, in samples", **values)
    flags.DEFINE_integer("hop_length", None, "samples from one frame to the next", **values)
    flags.DEFINE_string("window", None, f"one of {', '.join(front_end.WINDOWS)}", **values)
    flags.DEFINE_integer("n_mels", None, "number of mel bands", **values)
    flags.DEFINE_float("fmin_hz", None, "lower edge of the lowest band, in Hz", **values)
    flags.DEFINE_float("fmax_hz", None, "upper edge of the highest band, in Hz", **values)
    flags.DEFINE_string("compression", None, "log10: log10(1 + 10000 x); db: 10 log10(max(x, 1e-10))", **values)
    flags.DEFINE_string("record_dtype", "float16", "type of the records' values: float16 or float32", **values)
    flags.DEFINE_integer(
        "folds",
        None,
        "number of equal parts, fold_0 ..., to split the tracks into; by default 10, or 5 for GTZAN",
        **values,
    )
    flags.DEFINE_float(
        "train_size", None, "instead of folds: share of train, between 0 and 1; the rest is valid and test", **values
    )
    flags.DEFINE_float(
        "valid_size", None, "with --train_size: share of valid; by default half of what train leaves", **values
    )
    flags.DEFINE_string(
        "split_lists",
        None,
        "instead of folds: folder or glob of lists of paths, train.txt, valid.txt and test.txt; or one of the "
        f"published lists {', '.join(facts.SPLITS)}, which come with this package (./NAME is a folder of that name)",
        **values,
    )
    flags.DEFINE_bool(
        "split_folders",
        False,
        "instead of folds: the first folder below the input is the part: train, valid, test, or fold_0, fold_1 ...; "
        "the folders below it are the labels",
        **values,
    )
    flags.DEFINE_integer("seed", 0, "another seed assigns groups of equal size to other parts", **values)
    flags.DEFINE_string(
        "label_folder",
        "parent",
        "the folder that names the label: parent (of the file) or top (first below the input)",
        **values,
    )
    flags.DEFINE_bool(
        "merge_labels",
        False,
        "treat labels that differ only in case, spaces or Unicode's compatibility forms as one",
        **values,
    )
    flags.DEFINE_string("label_column", None, "column of a .csv with the labels; by default genre", **values)
    flags.DEFINE_string(
        "group_column",
        None,
        "column of a .csv with the groups, which are never split; by default group, else artist",
        **values,
    )
    flags.DEFINE_string(
        "groups",
        "auto",
        "which tracks stay in one part: auto (groups of the .csv; or GTZAN's artists, recognized by its file names; or "
        "the pieces of a recording, such as song_part1.mp3), gtzan, or none",
        **values,
    )
    flags.DEFINE_integer(
        "num_shards", None, "number of files over all parts; by default it depends on the number of tracks", **values
    )
    flags.DEFINE_integer("min_frames", 80, "reject clips with fewer frames (80: one patch of the paper)", **values)
    flags.DEFINE_float("max_duration_s", 6 * 3600.0, "reject audio of more seconds (21600: 6 hours)", **values)
    flags.DEFINE_float(
        "max_reject_fraction", 0.1, "fail if a larger share of the tracks cannot be used, 0 to 1", **values
    )
    flags.DEFINE_integer(
        "max_archive_bytes", 50 * 10**9, "refuse an archive that unpacks to more bytes (50 GB)", **values
    )
    flags.DEFINE_bool("overwrite", False, "start over if the output holds a dataset", **values)


_define_flags()


def main(flag_values: flags.FlagValues, beam_args: list[str]) -> None:
    """Run the job that the flags describe."""
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
        dtype=flag_values.record_dtype,
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
    return JobConfig(
        source=flag_values.input,
        output=flag_values.output.rstrip("/") or flag_values.output,
        name=default_name(flag_values.input) if name is None else name,
        split=SplitConfig(
            folds=flag_values.folds,
            train_size=flag_values.train_size,
            valid_size=flag_values.valid_size,
            split_lists=flag_values.split_lists,
            split_folders=flag_values.split_folders,
            seed=flag_values.seed,
        ),
        label_folder=flag_values.label_folder,
        merge_labels=flag_values.merge_labels,
        label_column=flag_values.label_column,
        group_column=flag_values.group_column,
        groups=flag_values.groups,
        min_frames=flag_values.min_frames,
        max_duration_s=flag_values.max_duration_s,
        max_archive_bytes=flag_values.max_archive_bytes,
        **fields,
    )


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__, pass_through=True)
