"""Labels and parts that come from folders: train/rock/a.wav, test/rock/b.wav, or fold1/rock/a.wav.

Labels that look like a mistake give a warning: one genre in two spellings, albums, numbers, or parts of a split.
"""

import dataclasses
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track, is_csv, one_name
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import first_few, log

_PARTS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}
_PART_OF = {name: part for part, names in _PARTS.items() for name in names}
_FOLD = re.compile(r"fold[ _-]?([0-9]{1,4})")


def part_of(folder: str) -> str | None:
    """Return the part that a folder's name stands for, or None.

    >>> part_of("dev"), part_of("Fold 03"), part_of("rock")
    ('valid', 'fold_3', None)
    """
    name = folder.strip().casefold()
    if match := _FOLD.fullmatch(name):
        return f"fold_{int(match[1])}"
    return _PART_OF.get(name)


def label_below_parts(tracks: Sequence[Track], label_folder: str) -> list[Track]:
    """Label tracks by the folders below the folders of parts.

    Args:
      tracks: labelled as if the folders of the parts were ordinary folders.
      label_folder: "parent", or "top", the first folder below that of the part.

    Raises:
      UserError: a track is not in a label's folder in a part's folder.
    """
    labelled = []
    for track in tracks:
        part, *folders, _ = track.track_id.split("/")
        if not part_of(part) or not folders:
            raise UserError(
                f"`split_folders`: {track.origin or track.uri} is not in the folder of a label in one of train, valid, "
                "test or fold_0, fold_1 ..., directly below the input; a glob can leave it out"
            )
        label = one_name(folders[0]) if label_folder == "top" else track.label
        labelled.append(track if label == track.label else dataclasses.replace(track, label=label))
    return labelled


def assign_by_folders(tracks: Sequence[Track]) -> list[str]:
    """Return each track's part, by the first folder of its path; folds are renumbered from 0.

    Args:
      tracks: all in the folder of a part.

    Raises:
      UserError: one part only, or folds beside train, valid or test.
    """
    folders = [track.track_id.partition("/")[0] for track in tracks]
    part_of_folder = {folder: part_of(folder) or "" for folder in set(folders)}
    parts = sorted(set(part_of_folder.values()))
    folds = sorted((part for part in parts if part.startswith("fold_")), key=lambda part: int(part[len("fold_") :]))
    if len(parts) < 2:
        raise UserError(f"`split_folders`: there is only the part {parts[0]}; put the others beside it")
    if folds and len(folds) < len(parts):
        raise UserError(
            f"`split_folders`: the folders mix folds with other parts ({first_few(sorted(part_of_folder))})"
        )
    new_name = {part: f"fold_{index}" for index, part in enumerate(folds)}
    if any(part != name for part, name in new_name.items()):
        log(f"folds are counted from 0: {', '.join(f'{part} is {name}' for part, name in new_name.items())}")
    if not folds:
        _warn_of_missing_parts(parts)
    return [new_name.get(part_of_folder[folder], part_of_folder[folder]) for folder in folders]


def _warn_of_missing_parts(parts: Sequence[str]) -> None:
    missing = [part for part in ("train", "test") if part not in parts]
    if missing:
        log(f"warning: there is no folder {' or '.join(missing)}: these parts alone are not enough to train on")
    elif "valid" not in parts:
        log(
            "warning: there is no folder valid: only recipes that do not choose an epoch by it (`recipe=augmented`) "
            "can train; for the others, move some artists from train into valid"
        )


def merge_labels(tracks: Sequence[Track]) -> tuple[Sequence[Track], dict[str, list[str]]]:
    """Merge labels that differ only in spelling into the most frequent spelling, or the first by name.

    Returns:
      The tracks, and label -> all its spellings, for merged labels.
    """
    counts = Counter(track.label for track in tracks)
    merged = {min(spellings, key=lambda label: (-counts[label], label)): spellings for spellings in _spellings(counts)}
    label_of = {spelling: label for label, spellings in merged.items() for spelling in spellings}
    return [
        dataclasses.replace(track, label=label_of[track.label])
        if label_of.get(track.label, track.label) != track.label
        else track
        for track in tracks
    ], merged


def _spellings(labels: Iterable[str]) -> list[list[str]]:
    """Return the lists of labels, sorted, that differ only in case, spaces or Unicode's compatibility forms."""
    same: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        same["".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    return [spellings for spellings in same.values() if len(spellings) > 1]


def warn_of_labels(config: JobConfig, tracks: Sequence[Track]) -> None:
    """Log a warning for everything that makes labels look wrong, with the field that corrects it.

    Args:
      config: the job.
      tracks: with their labels.
    """
    labels = Counter(track.label for track in tracks)
    if spellings := _spellings(labels):
        listed = [" and ".join(map(repr, same)) for same in spellings]
        log(f"warning: labels that may be one: {first_few(listed, '; ')}; `merge_labels` merges them")
    if is_csv(config.source):
        _warn_of_a_column(config, labels)
    else:
        _warn_of_folders(config, tracks)


def _warn_of_a_column(config: JobConfig, labels: Mapping[str, int]) -> None:
    if all(map(part_of, labels)):
        log(
            f"warning: the labels ({first_few(sorted(labels))}) look like the parts of a split, not like genres; "
            f"`label_column` names another column than {config.label_column or 'genre'}"
        )


def _warn_of_folders(config: JobConfig, tracks: Sequence[Track]) -> None:
    in_folders: dict[str, set[str]] = defaultdict(set)
    loose: list[Track] = []
    for track in tracks:
        path = track.track_id
        if config.split.split_folders:
            path = path.partition("/")[2]
        top, slash, _ = path.partition("/")
        if slash:
            in_folders[top].add(track.label)
        else:
            loose.append(track)
    if in_folders and loose:
        _warn_of_loose_files(config, loose)
    _warn_of_folder_names(config, sorted(set().union(*in_folders.values())), sorted(in_folders))


def _warn_of_folder_names(config: JobConfig, labels: Sequence[str], tops: Sequence[str]) -> None:
    """Log a warning if the labels, or the first folders below the input, do not look like genres."""
    numbers = [label for label in labels if label.isdecimal()]
    if parts := [top for top in tops if part_of(top)]:
        log(
            f"warning: the folders {first_few(parts)} look like the parts of a split, which is not used: all tracks "
            "are split anew; `split_folders` takes the parts from these folders"
        )
    elif parts := [label for label in labels if part_of(label)]:
        log(
            f"warning: the labels {first_few(parts)} look like the parts of a split, not like genres; "
            f"`label_folder=top` takes the first folders below the input as labels ({first_few(tops)})"
        )
    elif len(numbers) > 1 and 2 * len(numbers) > len(labels):
        log(
            f"warning: {len(numbers)} labels are numbers ({first_few(numbers)}): such folders store files rather than "
            "name genres; give a .csv with the columns path and genre (`label_column` names another)"
        )
    elif config.label_folder == "parent" and 1 < len(tops) < len(labels):
        log(
            f"warning: {len(labels)} folders ({first_few(labels)}) become labels, some of them below others, such as "
            f"albums below a genre; `label_folder=top` gives {len(tops)} labels ({first_few(tops)})"
        )


def _warn_of_loose_files(config: JobConfig, loose: Sequence[Track]) -> None:
    names = sorted(track.track_id.rpartition("/")[2] for track in loose)
    labels = sorted({track.label for track in loose})
    log(
        f"warning: {len(loose)} tracks are beside the folders of labels ({first_few(names)}) and get the label "
        f"{first_few([repr(label) for label in labels])}; a glob as the input, such as 'DIR/*/*', leaves them out"
    )
