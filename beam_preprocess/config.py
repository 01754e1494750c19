"""What a job is asked to do, checked before anything is read."""

import dataclasses
import os
import re

from beam_preprocess.audio.front_end import FrontEndConfig
from tfrecords.common.command_line import UserError
from tfrecords.schema import DTYPES

ARCHIVES = (".tar.gz", ".tgz", ".tar")
LABEL_FOLDERS = ("parent", "top")
GROUPS = ("auto", "gtzan", "none")
# Of a glob.
MAGIC = "*?["
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """How tracks are dealt into parts: by folds, unless train_size, split_lists or split_folders is given.

    Attributes:
      folds: number of equal parts, at least 2; None: 10, of GTZAN 5.
      train_size: share of train, between 0 and 1; the rest goes to valid and test.
      valid_size: share of valid; None: half of the rest.
      split_lists: folder or glob of published lists of paths, one .txt per part; or the name of lists that come with
        the package.
      split_folders: the first folder below the input names the part: train, valid, test, or fold_0 and so on.
      seed: deals equal groups in another order.
    """

    folds: int | None = 10
    train_size: float | None = None
    valid_size: float | None = None
    split_lists: str | None = None
    split_folders: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.train_size is not None and self.split_lists:
            raise UserError("--train_size and --split_lists exclude each other")
        if self.split_folders and (self.train_size is not None or self.split_lists):
            raise UserError("--split_folders excludes --folds, --train_size and --split_lists")
        if self.valid_size is not None and self.train_size is None:
            raise UserError("--valid_size needs --train_size")


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """A whole preprocessing job.

    Attributes:
      source: folder, glob, CSV or archive of labelled audio.
      output: directory of the dataset, on any file system that Beam knows.
      name: of the dataset: lower-case letters, digits and underscores.
      front_end: waveform -> spectrogram.
      dtype: of the records, "float16" (rounds log10 values by up to 0.002, decibels by up to 0.03) or "float32".
      split: how tracks are dealt into parts.
      label_folder: whose name is the label, where there is no CSV: "parent", the folder that a file lies in, or "top",
        the first one below the source (below the folder of a part, with split_folders).
      merge_labels: labels that differ only by case, spaces or Unicode's compatibility forms are one.
      label_column: the CSV's column of labels; None: "genre".
      group_column: the CSV's column of groups; None: "group" if there is one, else "artist" if there is one.
      groups: what no split tears apart: "auto", what the input says, or, where it says nothing and is GTZAN, what is
        known of its artists and songs, or, of other files, which are pieces of one recording; "gtzan", the former;
        "none", every track stands for itself.
      num_shards: over all parts; None: by the number of tracks.
      min_frames: shorter clips are rejected; 80 frames are one patch of the paper.
      max_duration_s: longer audio is rejected.
      max_reject_fraction: of the tracks; the job fails past it.
      max_archive_bytes: an archive that unpacks to more is refused.
    """

    source: str
    output: str
    name: str
    front_end: FrontEndConfig = dataclasses.field(default_factory=FrontEndConfig)
    dtype: str = "float16"
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    label_folder: str = "parent"
    merge_labels: bool = False
    label_column: str | None = None
    group_column: str | None = None
    groups: str = "auto"
    num_shards: int | None = None
    min_frames: int = 80
    max_duration_s: float = 6 * 3600.0
    max_reject_fraction: float = 0.1
    max_archive_bytes: int = 50 * 10**9

    def __post_init__(self) -> None:
        if not self.source or not self.output:
            raise UserError("--input=DIR|GLOB|tracks.csv|music.tar.gz and --output=DIR are needed (see --help)")
        listed = self.source.lower().endswith(".csv")
        if self.label_folder != "parent" and listed:
            raise UserError("--label_folder is for folders; of a CSV, --label_column is the label")
        if self.split.split_folders and listed:
            raise UserError("--split_folders is for folders; for a CSV, --split_lists gives the parts")
        if (self.label_column or self.group_column) and not listed:
            raise UserError("--label_column and --group_column are for a .csv; other inputs have no columns")
        if self.group_column and self.groups != "auto":
            raise UserError(f"--group_column and --groups={self.groups} exclude each other")
        rules = (
            # In a store Beam takes these for a pattern: deleting "set[1]" would delete "set1".
            ("output", "://" not in self.output or not set(MAGIC) & set(self.output), "a URL without * ? ["),
            ("name", bool(_NAME.fullmatch(self.name)), "lower-case letters, digits, underscores, a letter first"),
            ("record_dtype", self.dtype in DTYPES, f"one of {', '.join(DTYPES)}"),
            ("label_folder", self.label_folder in LABEL_FOLDERS, f"one of {', '.join(LABEL_FOLDERS)}"),
            ("groups", self.groups in GROUPS, f"one of {', '.join(GROUPS)}"),
            ("num_shards", self.num_shards is None or self.num_shards >= 1, "at least 1"),
            ("min_frames", self.min_frames >= 1, "at least 1"),
            ("max_duration_s", self.max_duration_s > 0, "above 0"),
            ("max_reject_fraction", 0 <= self.max_reject_fraction <= 1, "from 0 to 1"),
            ("max_archive_bytes", self.max_archive_bytes >= 1, "at least 1"),
        )
        for name, holds, rule in rules:
            if not holds:
                value = self.dtype if name == "record_dtype" else getattr(self, name)
                raise UserError(f"--{name} must be {rule}, got {value!r}")


def default_name(source: str) -> str:
    """A dataset's name from its input: that of the folder or archive, or of the folder of the CSV or glob."""
    path = source
    if source.lower().endswith(".csv"):
        path = os.path.dirname(source)  # noqa: PTH120
    elif not (source.lower().endswith(ARCHIVES) or os.path.isdir(source)):  # noqa: PTH112
        # Folders and archives may be named like globs.
        while any(character in path for character in MAGIC):
            path = os.path.dirname(path.rstrip("/"))  # noqa: PTH120
    if "://" not in source:
        # A folder has one name, however it is written.
        path = os.path.abspath(path)  # noqa: PTH100
    slug = re.sub(r"[^a-z0-9]+", "_", archive_stem(path.rstrip("/")).lower()).strip("_")
    return slug if _NAME.fullmatch(slug) else "dataset"


def archive_stem(path: str) -> str:
    """The last name of a path, without the extension of an archive."""
    name = path.rpartition("/")[2]
    extensions = [extension for extension in ARCHIVES if name.lower().endswith(extension)]
    return name[: -len(extensions[0])] if extensions else name
