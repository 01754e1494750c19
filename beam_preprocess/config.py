"""The configuration of a job, checked before anything is read."""

import dataclasses
import os
import re

from beam_preprocess.audio.front_end import FrontEndConfig
from tfrecords.common.command_line import UserError
from tfrecords.schema import DTYPES

ARCHIVES = (".tar.gz", ".tgz", ".tar")
LABEL_FOLDERS = ("parent", "top")
GROUPS = ("auto", "gtzan", "none")
# The special characters of a glob.
MAGIC = "*?["
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """How tracks are split into parts: into folds, unless train_size, split_lists or split_folders is given.

    Attributes:
      folds: number of equal parts, at least 2; None: 10, or 5 for GTZAN.
      train_size: share of train, between 0 and 1; the rest goes to valid and test.
      valid_size: share of valid; None: half of what train leaves.
      split_lists: folder or glob of published lists of paths, one .txt per part; or the name of lists that come with
        the package.
      split_folders: the first folder below the input names the part: train, valid, test, or fold_0 and so on.
      seed: another seed assigns groups of equal size to other parts.

    Raises:
      UserError: settings that exclude each other.

    Example:
      >>> SplitConfig(folds=None, train_size=0.8).train_size
      0.8
    """

    folds: int | None = 10
    train_size: float | None = None
    valid_size: float | None = None
    split_lists: str | None = None
    split_folders: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.train_size is not None and self.split_lists:
            raise UserError("`train_size` and `split_lists` exclude each other")
        if self.split_folders and (self.train_size is not None or self.split_lists):
            raise UserError("`split_folders` excludes `folds`, `train_size` and `split_lists`")
        if self.valid_size is not None and self.train_size is None:
            raise UserError("`valid_size` needs `train_size`")


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """A whole preprocessing job.

    A field that changes records, other than by the list of tracks, has its place in the fingerprints of
    `beam_preprocess.plan.make_plan`.

    Attributes:
      source: folder, glob, CSV or archive of labelled audio.
      output: directory of the dataset, on any file system that Beam supports.
      name: of the dataset: lower-case letters, digits and underscores, a letter first.
      front_end: waveform -> spectrogram.
      record_dtype: of the records, "float16" (rounds log10 values by up to 0.002, decibels by up to 0.03) or "float32".
      split: how tracks are split into parts.
      label_folder: the folder whose name is the label, if there is no CSV: "parent", the folder that a file is in, or
        "top", the first folder below the source (below the folder of a part, with split_folders).
      merge_labels: treat labels that differ only in case, spaces or Unicode's compatibility forms as one.
      label_column: the CSV's column of labels; None: "genre".
      needs_labels: False: a CSV need not have labels.
      group_column: the CSV's column of groups; None: "group" if there is one, else "artist" if there is one.
      groups: which tracks stay in one part: "auto", those of a group in the input, or if it has no groups, GTZAN's
        artists and songs for GTZAN's clips, and the pieces of one recording for other files; "gtzan", GTZAN's artists
        and songs; "none", every track is a group of its own.
      num_shards: over all parts; None: depends on the number of tracks.
      min_frames: shorter clips are rejected; the paper's patches have 80 frames.
      max_duration_s: longer audio is rejected.
      max_reject_fraction: the job fails if a larger share of the tracks is rejected.
      max_archive_bytes: an archive that unpacks to more is refused.

    Raises:
      UserError: a field is out of range, or fields exclude each other; the message names it.

    Example:
      >>> JobConfig(source="music", output="DATA", name="music", split=SplitConfig(folds=5)).front_end.n_mels
      40
    """

    source: str
    output: str
    name: str
    front_end: FrontEndConfig = dataclasses.field(default_factory=FrontEndConfig)
    record_dtype: str = "float16"
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    label_folder: str = "parent"
    merge_labels: bool = False
    label_column: str | None = None
    needs_labels: bool = True
    group_column: str | None = None
    groups: str = "auto"
    num_shards: int | None = None
    min_frames: int = 80
    max_duration_s: float = 6 * 3600.0
    max_reject_fraction: float = 0.1
    max_archive_bytes: int = 50 * 10**9

    def __post_init__(self) -> None:
        listed = self.source.lower().endswith(".csv")
        if self.label_folder != "parent" and listed:
            raise UserError("`label_folder` is for folders; for a CSV, `label_column` names the labels")
        if self.split.split_folders and listed:
            raise UserError("`split_folders` is for folders; for a CSV, `split_lists` gives the parts")
        if (self.label_column or self.group_column) and not listed:
            raise UserError("`label_column` and `group_column` are for a .csv; other inputs have no columns")
        if self.group_column and self.groups != "auto":
            raise UserError(f"`group_column` and `groups={self.groups}` exclude each other")
        rules = (
            ("source", bool(self.source), "a folder, a glob, a .csv or an archive"),
            ("output", bool(self.output), "a directory"),
            # In a store, Beam takes these for a glob: deleting "set[1]" would delete "set1".
            ("output", "://" not in self.output or not set(MAGIC) & set(self.output), "a URL without * ? ["),
            ("name", bool(_NAME.fullmatch(self.name)), "lower-case letters, digits, underscores, a letter first"),
            ("record_dtype", self.record_dtype in DTYPES, f"one of {', '.join(DTYPES)}"),
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
                raise UserError(f"`{name}` must be {rule}, got {getattr(self, name)!r}")


def default_name(source: str) -> str:
    """Return a dataset's name from its input: that of the folder or archive, or of the folder of the CSV or glob.

    >>> default_name("/data/My Music.tar.gz"), default_name("/data/gtzan/*/*.wav")
    ('my_music', 'gtzan')
    """
    path = source
    if source.lower().endswith(".csv"):
        path = os.path.dirname(source)  # noqa: PTH120
    elif not (source.lower().endswith(ARCHIVES) or os.path.isdir(source)):  # noqa: PTH112
        # Not for folders and archives, whose names may contain such characters.
        while any(character in path for character in MAGIC):
            path = os.path.dirname(path.rstrip("/"))  # noqa: PTH120
    if "://" not in source:
        # For inputs such as "." and "..".
        path = os.path.abspath(path)  # noqa: PTH100
    slug = re.sub(r"[^a-z0-9]+", "_", archive_stem(path.rstrip("/")).lower()).strip("_")
    return slug if _NAME.fullmatch(slug) else "dataset"


def archive_stem(path: str) -> str:
    """Return the last name of a path, without the extension of an archive."""
    name = path.rpartition("/")[2]
    extensions = [extension for extension in ARCHIVES if name.lower().endswith(extension)]
    return name[: -len(extensions[0])] if extensions else name
