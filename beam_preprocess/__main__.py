"""Turns labelled audio into sharded TFRecords of log-mel spectrograms, as an Apache Beam job.

python -m beam_preprocess --input=DIR|GLOB|tracks.csv|music.tar.gz --output=OUT [flags] [any flag of Beam]

A file's label is the name of the folder it lies in; a CSV has the columns path (relative to it), genre and, if wanted,
artist or group; an archive is read like the folder that it unpacks to. Files that are no audio are counted by kind.
GTZAN is known by its file names: no artist of it is split, and neither are pieces of one recording. Input and output
may lie on any file system of Beam. The output is a dataset once it holds manifest.json; inputs that cannot be used are
named in rejects.jsonl. An interrupted job goes on when the same command is run again.
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
    flags.DEFINE_string("name", None, "name of the dataset; by default that of the input's folder", **values)
    flags.DEFINE_string("preset", "cbmi2016", f"front end: {', '.join(PRESETS)}", **values)
    flags.DEFINE_integer("sample_rate", None, "Hz; overrides the preset's, as the next seven do", **values)
    flags.DEFINE_integer("frame_length", None, "samples in a frame", **values)
    flags.DEFINE_integer("hop_length", None, "samples from one frame to the next", **values)
    flags.DEFINE_string("window", None, f"one of {', '.join(front_end.WINDOWS)}", **values)
    flags.DEFINE_integer("n_mels", None, "mel bands", **values)
    flags.DEFINE_float("fmin_hz", None, "lower edge of the lowest band", **values)
    flags.DEFINE_float("fmax_hz", None, "upper edge of the highest band", **values)
    flags.DEFINE_string("compression", None, "log10: log10(1 + 10000 x), or db: 10 log10(max(x, 1e-10))", **values)
    flags.DEFINE_string("record_dtype", "float16", "of the records: float16 or float32", **values)
    flags.DEFINE_integer("folds", None, "deal the tracks into so many parts, fold_0 ...; 10, or 5 of GTZAN", **values)
    flags.DEFINE_float("train_size", None, "instead of folds: share of train; the rest is valid and test", **values)
    flags.DEFINE_float("valid_size", None, "with --train_size: share of valid; by default half of the rest", **values)
    flags.DEFINE_string(
        "split_lists",
        None,
        "instead of folds: folder or glob of train, valid, test .txt; or the published lists "
        f"{', '.join(facts.SPLITS)}, which come with this package (a folder of such a name is ./NAME)",
        **values,
    )
    flags.DEFINE_bool(
        "split_folders",
        False,
        "instead of folds: the first folder below the input is the part: train, valid, test, or fold_0, fold_1 ...; "
        "labels are folders below it",
        **values,
    )
    flags.DEFINE_integer("seed", 0, "deals equal groups into other parts", **values)
    flags.DEFINE_string(
        "label_folder",
        "parent",
        "the label is the name of: parent (of the file) or top (first below the input)",
        **values,
    )
    flags.DEFINE_bool(
        "merge_labels",
        False,
        "make labels one that differ only by case, spaces or Unicode's compatibility forms",
        **values,
    )
    flags.DEFINE_string("label_column", None, "of the CSV; by default genre", **values)
    flags.DEFINE_string("group_column", None, "of the CSV: never split; by default group, or else artist", **values)
    flags.DEFINE_string(
        "groups",
        "auto",
        "what is never split: auto (the CSV's groups; those of GTZAN by its file names; pieces of one recording, such "
        "as song_part1.mp3, by theirs), gtzan, or none",
        **values,
    )
    flags.DEFINE_integer("num_shards", None, "over all parts; by default by the number of tracks", **values)
    flags.DEFINE_integer("min_frames", 80, "reject shorter clips (80: one patch of the paper)", **values)
    flags.DEFINE_float("max_duration_s", 6 * 3600.0, "reject longer audio (6 hours)", **values)
    flags.DEFINE_float("max_reject_fraction", 0.1, "fail when more of the tracks cannot be used", **values)
    flags.DEFINE_integer("max_archive_bytes", 50 * 10**9, "refuse an archive that unpacks to more", **values)
    flags.DEFINE_bool("overwrite", False, "start over where the output holds a dataset", **values)


_define_flags()


def main(flag_values: flags.FlagValues, beam_args: list[str]) -> None:
    """Runs the job that the flags describe."""
    config = make_config(flag_values)
    # Imported late: --help and a mistaken flag should not wait for Beam; and Beam warns of parts that are not needed.
    with no_warnings():
        from beam_preprocess import job
    job.run(config, beam_args=beam_args, own_flags=list(flag_values), overwrite=flag_values.overwrite)


def make_config(flag_values: flags.FlagValues) -> JobConfig:
    """The flags as a configuration.

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


def shared_config(flag_values: flags.FlagValues, *, name: str | None = None, **own: Any) -> JobConfig:
    """A configuration from the flags that an audit has too: of the input and how it is split.

    Args:
      flag_values: with these flags.
      name: of the dataset; by default that of the input's folder.
      own: the other fields of JobConfig that are not at their defaults.

    Raises:
      UserError: a value is out of range.
    """
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
        **own,
    )


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__, pass_through=True)
