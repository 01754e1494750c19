"""A split that is given by folders: train/rock/a.wav, test/rock/b.wav, or fold1/rock/a.wav and so on."""

import dataclasses
import re
from collections.abc import Sequence

from beam_preprocess.messages import say, some
from beam_preprocess.tracks import Track, one_name
from tfrecords.command_line import UserError

_PARTS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}
_PART_OF = {name: part for part, names in _PARTS.items() for name in names}
_FOLD = re.compile(r"fold[ _-]?([0-9]{1,4})")


def part_of(folder: str) -> str | None:
    """Return the part that a folder's name means, such as "valid" for "Validation" or "fold_3" for "fold 03"; or None.

    >>> part_of("dev"), part_of("Fold 03"), part_of("rock")
    ('valid', 'fold_3', None)
    """
    name = folder.strip().casefold()
    if match := _FOLD.fullmatch(name):
        return f"fold_{int(match[1])}"
    return _PART_OF.get(name)


def label_below_parts(tracks: Sequence[Track], label_folder: str) -> list[Track]:
    """Label tracks by the folders below those of the parts.

    Args:
      tracks: labelled as if the folders of the parts were like others.
      label_folder: "parent", or "top", the first folder below that of the part.

    Raises:
      UserError: a track does not lie in a label's folder in a part's folder.
    """
    labelled = []
    for track in tracks:
        part, *folders, _ = track.track_id.split("/")
        if not part_of(part) or not folders:
            raise UserError(
                f"--split_folders: {track.origin or track.uri} does not lie in the folder of a label in one of train, "
                "valid, test or fold_0, fold_1 ..., directly below the input; a glob can leave it out"
            )
        label = one_name(folders[0]) if label_folder == "top" else track.label
        labelled.append(track if label == track.label else dataclasses.replace(track, label=label))
    return labelled


def assign_by_folders(tracks: Sequence[Track]) -> list[str]:
    """Return each track's part by the first folder of its path; folds are numbered anew, from 0.

    Args:
      tracks: all in the folder of a part.

    Raises:
      UserError: one part only, or folds beside train, valid or test.
    """
    of_folder = {folder: part_of(folder) or "" for folder in {track.track_id.partition("/")[0] for track in tracks}}
    found = sorted(set(of_folder.values()))
    folds = sorted((part for part in found if part.startswith("fold_")), key=lambda part: int(part[len("fold_") :]))
    if len(found) < 2:
        raise UserError(f"--split_folders: there is only the part {found[0]}; others must lie beside it")
    if folds and len(folds) < len(found):
        raise UserError(f"--split_folders: the folders mix folds with other parts ({some(sorted(of_folder))})")
    number = {part: f"fold_{index}" for index, part in enumerate(folds)}
    if any(part != name for part, name in number.items()):
        say(f"folds are counted from 0: {', '.join(f'{part} is {name}' for part, name in number.items())}")
    if not folds:
        _warn_of_missing(found)
    return [
        number.get(of_folder[top], of_folder[top]) for top in (track.track_id.partition("/")[0] for track in tracks)
    ]


def _warn_of_missing(parts: Sequence[str]) -> None:
    missing = [part for part in ("train", "test") if part not in parts]
    if missing:
        say(f"warning: there is no folder {' or '.join(missing)}: nothing can be trained on these parts alone")
    elif "valid" not in parts:
        say(
            "warning: there is no folder valid: of the recipes of training, only those that choose no epoch "
            "by it (--recipe=augmented) can be used; for the others, move some artists from train into valid"
        )
