"""Labels that are probably a mistake: one genre in two spellings, folders of albums, numbers, or parts of a split."""

import dataclasses
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from beam_preprocess.config import JobConfig
from beam_preprocess.messages import say, some
from beam_preprocess.part_folders import part_of
from beam_preprocess.tracks import Track, is_csv


def merge_labels(tracks: Sequence[Track]) -> tuple[Sequence[Track], dict[str, list[str]]]:
    """Make labels that are spelled in several ways one label each: the most frequent spelling, or the first by name.

    Returns:
      The tracks, and label -> all its spellings, where there are several.
    """
    counts = Counter(track.label for track in tracks)
    merged = {min(spellings, key=lambda label: (-counts[label], label)): spellings for spellings in _spellings(counts)}
    label_of = {spelling: label for label, spellings in merged.items() for spelling in spellings}
    return [
        track if (label := label_of.get(track.label, track.label)) == track.label else _relabelled(track, label)
        for track in tracks
    ], merged


def _relabelled(track: Track, label: str) -> Track:
    return dataclasses.replace(track, label=label)


def _spellings(labels: Iterable[str]) -> list[list[str]]:
    """The labels, sorted, that differ only by case, spaces or Unicode's compatibility forms; of each several."""
    same: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        same["".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    return [spellings for spellings in same.values() if len(spellings) > 1]


def warn_of_labels(config: JobConfig, tracks: Sequence[Track]) -> None:
    """Print a warning for each thing that makes labels look wrong, with the flag that settles it.

    Args:
      config: the job.
      tracks: as they are labelled.
    """
    labels = Counter(track.label for track in tracks)
    if spellings := _spellings(labels):
        listed = [" and ".join(map(repr, same)) for same in spellings]
        say(f"warning: labels that may be one: {some(listed, '; ')}; --merge_labels makes them one")
    if is_csv(config.source):
        _warn_of_a_column(config, labels)
    else:
        _warn_of_folders(config, tracks)


def _warn_of_a_column(config: JobConfig, labels: Mapping[str, int]) -> None:
    if all(map(part_of, labels)):
        say(
            f"warning: the labels ({some(sorted(labels))}) look like the parts of a split, not like genres; "
            f"--label_column names another column than {config.label_column or 'genre'}"
        )


def _warn_of_folders(config: JobConfig, tracks: Sequence[Track]) -> None:
    labels_found: set[str] = set()
    tops_found: set[str] = set()
    loose: list[Track] = []
    for track in tracks:
        path = track.track_id
        if config.split.split_folders:
            path = path.partition("/")[2]
        top, slash, _ = path.partition("/")
        if slash:
            labels_found.add(track.label)
            tops_found.add(top)
        else:
            loose.append(track)
    if tops_found and loose:
        _warn_of_loose_files(config, loose)
    labels, tops = sorted(labels_found), sorted(tops_found)
    numbers = [label for label in labels if label.isdecimal()]
    if parts := [top for top in tops if part_of(top)]:
        say(
            f"warning: the folders {some(parts)} look like the parts of a split, which is not used: all tracks are "
            "dealt anew; --split_folders takes the parts from these folders"
        )
    elif parts := [label for label in labels if part_of(label)]:
        say(
            f"warning: the labels {some(parts)} look like the parts of a split, not like genres; --label_folder=top "
            f"takes the first folders below the input as labels ({some(tops)})"
        )
    elif len(numbers) > 1 and 2 * len(numbers) > len(labels):
        say(
            f"warning: {len(numbers)} labels are numbers ({some(numbers)}): such folders store files rather than name "
            "genres; give a .csv with the columns path and genre (--label_column names another)"
        )
    elif config.label_folder == "parent" and 1 < len(tops) < len(labels):
        say(
            f"warning: {len(labels)} folders ({some(labels)}) become labels, some of them below others, such as albums "
            f"below a genre; --label_folder=top gives {len(tops)} labels ({some(tops)})"
        )


def _warn_of_loose_files(config: JobConfig, loose: Sequence[Track]) -> None:
    names = sorted(track.track_id.rpartition("/")[2] for track in loose)
    labels = sorted({track.label for track in loose})
    say(
        f"warning: {len(loose)} tracks lie beside the folders of labels ({some(names)}) and get the label "
        f"{some([repr(label) for label in labels])}; a glob such as --input='DIR/*/*' leaves them out"
    )
