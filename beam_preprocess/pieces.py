"""Pieces of one recording, known by their names: blues.00000.0.wav ... blues.00000.9.wav, or song_part1.mp3."""

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set

from beam_preprocess.audio.selection import ending_of
from beam_preprocess.tracks import Track

_WORDS = ("part", "piece", "chunk", "segment", "seg", "clip", "slice", "split", "excerpt")
_NAME = re.compile(
    r"(?P<stem>.*?[^\s._\-])[\s._\-(\[#]+"
    rf"(?:(?P<word>{'|'.join(_WORDS)})s?[\s._\-#]*)?"
    r"(?P<number>[0-9]{1,6})(?:[\s._\-]*of[\s._\-]*[0-9]{1,6})?[)\]]?",
    re.IGNORECASE | re.DOTALL,
)
# Of the numbers from the first to the last, as many are there; some pieces may have been thrown away.
_MIN_SHARE = 0.8


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Recordings that are cut into pieces.

    Attributes:
      recording_of: index of a track -> path of the recording that it is a piece of, without an ending.
      recordings: how many there are.
      example: the paths of two pieces of one.
    """

    recording_of: Mapping[int, str]
    recordings: int
    example: tuple[str, ...]


def recording_of(path: str) -> str | None:
    """Return the path, without an ending, of the recording that a file may be a piece of, by its name; None for others.

    >>> recording_of("blues/blues.00000.3.wav"), recording_of("fma/000002.mp3")
    ('blues/blues.00000', None)
    """
    folder, slash, name = path.rpartition("/")
    match = _NAME.fullmatch(_base(name))
    return f"{folder}{slash}{match['stem']}" if match else None


def find_pieces(tracks: Sequence[Track], *, skip_folders: int = 0) -> Pieces:
    """Find the tracks that are pieces of recordings.

    In one folder, names must be a stem, a separator and a number. A stem is a recording if a word such as "part" stands
    before the number; without one, if its numbers run from 0 or 1, and so do those of another stem of that folder: a
    folder of rock.00000, rock.00001 ... holds as many recordings as files. A stem that is called like its label is
    none, nor is one without a word that has all files of a label. A file that is called like a recording is of it.

    Args:
      tracks: in any order.
      skip_folders: of each path, so many first folders do not count: files of equal names in them are of one recording.
    """
    folders: dict[str, list[int]] = defaultdict(list)
    for index, track in enumerate(tracks):
        folder = track.track_id.rpartition("/")[0]
        folders["/".join(folder.split("/")[skip_folders:])].append(index)
    label_counts = Counter(track.label for track in tracks)
    found: dict[int, str] = {}
    for folder, indices in folders.items():
        names = {index: _base(tracks[index].track_id.rpartition("/")[2]) for index in indices}
        for index, stem in _cut(names, tracks, label_counts).items():
            found[index] = f"{folder}/{stem}" if folder else stem
    members: dict[str, list[str]] = defaultdict(list)
    for index, recording in found.items():
        members[recording].append(tracks[index].track_id)
    example = sorted(members[min(members)])[:2] if members else []
    return Pieces(found, len(members), tuple(example))


def _base(name: str) -> str:
    """A file's name without its ending; a number at its end is none."""
    ending = ending_of(name)
    return name[: len(name) - len(ending)]


def _cut(names: Mapping[int, str], tracks: Sequence[Track], label_counts: Mapping[str, int]) -> dict[int, str]:
    """Index -> stem, of the files of one folder that are pieces, or called like a recording that is there in pieces."""
    members: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for index, name in names.items():
        if match := _NAME.fullmatch(name):
            members[match["stem"], bool(match["word"])].append(index)
    stems, whole = {stem for stem, _ in members}, set(names.values())
    worded, numbered = set(), set()
    for (stem, has_word), indices in members.items():
        labels = Counter(tracks[index].label for index in indices)
        if _letters(stem) in map(_letters, labels):
            continue
        if has_word and (len(indices) > 1 or stem in whole):
            worded.add(stem)
        # Of bl.00000 and bl.00000.0, the latter is the piece.
        if not has_word and not any(names[index] in stems for index in indices):
            all_of_one = any(label_counts[label] == count for label, count in labels.items())
            if not all_of_one and _runs({_number(names[index]) for index in indices}):
                numbered.add(stem)
    cut = worded | numbered if len(numbered) > 1 else worded
    found = {index: stem for (stem, _), indices in members.items() if stem in cut for index in indices}
    return found | {index: name for index, name in names.items() if name in cut}


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    return int(match["number"]) if match else 0


def _runs(numbers: Set[int]) -> bool:
    """Whether there are several numbers, from 0 or 1, with few gaps."""
    first = 0 if 0 in numbers else 1
    return len(numbers) > 1 and len(numbers) >= _MIN_SHARE * (max(numbers) - first + 1)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
